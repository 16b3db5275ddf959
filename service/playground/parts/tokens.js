// A text in its tokens, coloured by how surprising each was.

import { h } from "../dom.js";

/** Where the next colour begins, in nats. */
const BOUNDS = [0.5, 1.5, 3, 5, 8];

/** The colour of a surprise: 0 … 5. */
const level = (/** @type {number} */ nats) => BOUNDS.filter((bound) => nats >= bound).length;

/**
 * @param {string} text
 * @param {number | null} nats
 * @param {string} [others] what else was likely
 */
export function tokenSpan(text, nats, others = "") {
  if (nats === null || nats === undefined) return h("span", {}, text);
  const chance = Math.exp(-nats);
  return h("span.token", { "data-level": level(nats), title: `${nats.toFixed(2)} nats, ${percent(chance)} likely${others && `; ${others}`}` }, text);
}

/** What the colours mean. */
export function legend() {
  const bounds = [0, ...BOUNDS];
  const swatches = bounds.map((bound, i) => h("span.token", { "data-level": i }, i === bounds.length - 1 ? `${bound} or more` : `${bound}`));
  return h("p.legend.fine", {}, "Surprise in nats: ", swatches.flatMap((swatch) => [swatch, " "]));
}

export const percent = (/** @type {number} */ share) => `${(100 * share).toPrecision(share < 0.001 ? 1 : 2).replace(/\.0$/, "")} %`;
