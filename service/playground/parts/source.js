// Where pictures come from: dropped, pasted, chosen, drawn by hand, drawn by a model, or an example.

import { sendForBytes } from "../api.js";
import { h } from "../dom.js";
import { able, wayOf } from "../models.js";
import { readNpy } from "../npy.js";
import { fromArray, fromFile } from "../pictures.js";
import { Problem, unreachable } from "../problem.js";
import { anySeed } from "../random.js";
import { showProblem } from "./notice.js";
import { sketch } from "./sketch.js";

const LONGEST = 512;
/** Drawn by mnist-pixel-gpt: those of them that mnist-scores takes for usual. */
const EXAMPLES = { mnist: { file: "mnist.png", side: 28, count: 30 } };

/**
 * @typedef {object} Wishes
 * @property {boolean} many whether several are taken
 * @property {(pictures: import("../pictures.js").Picture[]) => void} onpictures
 * @property {[string, () => void][]} [more] other buttons
 */

/**
 * A place for pictures. It listens for pasted ones as long as it is looked at.
 * @param {Wishes} wishes
 * @returns {HTMLElement}
 */
export function source({ many, onpictures, more = [] }) {
  const input = h("input.hidden", { type: "file", accept: "image/*", multiple: many, tabindex: "-1", "aria-hidden": "true" });
  const take = async (files) => {
    const pictures = [...files].filter((file) => file.type.startsWith("image/")).slice(0, many ? 200 : 1);
    if (!pictures.length) return showProblem(new Problem("That is no picture", "Take a PNG, a JPEG or whatever else the browser can show."));
    const read = await Promise.allSettled(pictures.map((file) => fromFile(file, LONGEST)));
    const good = read.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    if (good.length < pictures.length) showProblem(new Problem("A picture could not be read", `${pictures.length - good.length} of ${pictures.length} files are none that the browser knows.`));
    if (good.length) onpictures(good);
  };
  input.addEventListener("change", () => (take(input.files), (input.value = "")));
  const button = (text, onclick) => h("button.plain.small", { type: "button", onclick }, text);
  const byHand = async () => {
    const picture = await sketch();
    if (picture) onpictures([picture]);
  };
  const zone = h(
    "div.zone",
    {},
    h("p.muted", {}, many ? "Drop or paste pictures, or" : "Drop or paste a picture, or"),
    h("div.row", {}, button(many ? "Choose files" : "Choose a file", () => input.click()), button("Draw by hand", byHand), more.map(([text, onclick]) => button(text, onclick))),
    input,
  );
  receive(zone, take);
  return zone;
}

function receive(zone, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    zone.dataset.over = String(on);
  };
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => (over(false)(event), take(event.dataTransfer.files)));
  const paste = (event) => {
    if (!zone.isConnected) return document.removeEventListener("paste", paste);
    const files = event.clipboardData.files;
    if (zone.offsetParent && files.length) take(files);
  };
  document.addEventListener("paste", paste);
}

/**
 * Pictures drawn by the model that draws by default, of those that draw pictures of such a shape.
 * @param {import("../models.js").Model[]} models
 * @param {(number | null)[]} shape
 * @param {number} n
 * @param {AbortSignal} [signal]
 */
export async function drawnPictures(models, shape, n, signal) {
  const [model] = drawersOf(models, shape);
  const json = { model: model.id, n, seed: anySeed() };
  const bytes = await sendForBytes({ path: "v1/images/generations", json, accept: "application/x-npy" }, signal);
  return fromArray(readNpy(bytes), (i) => `drawn ${i + 1}`);
}

/** Whether some pictures of a data set came with this page. */
export const hasExamples = (/** @type {string} */ dataset) => dataset in EXAMPLES;

/**
 * Pictures like those that models of a data set were made for, where some came with this page.
 * @param {string} dataset
 * @returns {Promise<import("../pictures.js").Picture[]>}
 */
export async function examplePictures(dataset) {
  const sheet = EXAMPLES[dataset];
  if (!sheet) return [];
  const answer = await fetch(new URL(`../examples/${sheet.file}`, import.meta.url)).catch(() => null);
  if (!answer?.ok) throw unreachable();
  const whole = await fromFile(await answer.blob());
  return Array.from({ length: sheet.count }, (_, i) => cut(whole, sheet.side, i));
}

/** One tile of a sheet, counted row by row. */
function cut({ shape: [c, , w], data }, side, i) {
  const columns = w / side;
  const corner = Math.floor(i / columns) * side * w + (i % columns) * side;
  const plane = data.length / c;
  const out = Float32Array.from({ length: c * side * side }, (_, at) => {
    const [k, rest] = [Math.floor(at / (side * side)), at % (side * side)];
    return data[k * plane + corner + Math.floor(rest / side) * w + (rest % side)];
  });
  return { name: `digit ${i + 1}`, shape: /** @type {any} */ ([c, side, side]), data: out };
}

/** Models that draw pictures of a shape, quick ones first. */
export const drawersOf = (models, shape) =>
  able(models, "generate", "image")
    .filter((model) => String(model.data.shape) === String(shape))
    .sort((a, b) => Number(wayOf(b) === "decode") - Number(wayOf(a) === "decode"));
