// Before and after, one over the other, with a slider between them.

import { fresh, h } from "../dom.js";

/**
 * @param {string} title
 * @returns {{element: HTMLElement, show: (before: string, after: string, small: boolean, words: string) => void, wait: () => void}}
 */
export function compare(title) {
  const id = fresh("compare");
  const before = h("img", { alt: `Before ${title}` });
  const after = h("img.after", { alt: `After ${title}` });
  const line = h("span.line", { "aria-hidden": "true" });
  const input = h("input", { id, type: "range", min: 0, max: 100, value: 50, "aria-label": `Before and after ${title}` });
  const frame = h("div.pair.plate", {}, before, after, line, input);
  const words = h("p.fine.muted", {}, "…");
  const move = () => {
    after.style.clipPath = `inset(0 0 0 ${input.value}%)`;
    line.style.insetInlineStart = `${input.value}%`;
  };
  input.addEventListener("input", move);
  move();
  return {
    element: h("figure.compare", {}, frame, h("figcaption", {}, h("strong", {}, title), words)),
    wait: () => (frame.dataset.waiting = "true"),
    show: (from, to, small, said) => {
      [before.src, after.src, words.textContent] = [from, to, said];
      frame.dataset.small = String(small);
      frame.dataset.waiting = "false";
    },
  };
}
