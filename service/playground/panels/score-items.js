// What is scored: pictures, rows of a table, or lines of text.

import { readCsv } from "../csv.js";
import { h } from "../dom.js";
import { EXAMPLE_TEXT, exampleTable } from "../examples.js";
import { text } from "../parts/fields.js";
import { drawersOf, drawnPictures, examplePictures, source } from "../parts/source.js";
import { rounded, toShape } from "../pictures.js";
import { uniform } from "../random.js";

/**
 * @typedef {object} Item
 * @property {string} name
 * @property {import("../pictures.js").Picture} [picture]
 * @property {string} [text]
 *
 * @typedef {object} Given
 * @property {HTMLElement} element
 * @property {(signal: AbortSignal) => Promise<Item[]>} read
 * @property {() => string} [csv]
 */

const DRAWN = 20;

/** Pictures; at first examples, one of them spoilt, or some that a model draws. @returns {Given} */
export function imageItems({ models, model, full, changed }) {
  const shape = model.data.shape;
  /** @type {Item[]} */
  let items = [];
  let fetched = (signal) => begin(models, shape, full.manifest.data.dataset, signal);
  const take = (pictures) => {
    items.push(...pictures.map((picture) => itemOf(picture, shape)));
    changed();
  };
  const fetchAnew = (how) => () => {
    [items, fetched] = [[], how];
    changed();
  };
  const more = [["Start anew", fetchAnew(null)]];
  if (drawersOf(models, shape).length) more.unshift(["From a model", fetchAnew((signal) => drawnPictures(models, shape, DRAWN, signal))]);
  const read = async (signal) => {
    if (fetched) items.push(...(await fetched(signal)).map((picture) => itemOf(picture, shape)));
    fetched = null;
    return items;
  };
  return { element: source({ many: true, onpictures: take, more }), read };
}

async function begin(models, shape, dataset, signal) {
  const examples = await examplePictures(dataset);
  if (examples.length) return [...examples, speckled(toShape(examples[0], shape))];
  return drawersOf(models, shape).length ? drawnPictures(models, shape, DRAWN, signal) : [];
}

/** @returns {Item} */
const itemOf = (picture, shape) => ({ name: picture.name, picture: rounded(toShape(picture, shape)) });

/** With a few grey pixels where none belong. */
function speckled(picture) {
  const next = uniform(5);
  const data = picture.data.slice();
  const [, height, width] = picture.shape;
  for (let k = 0; k < 12; k++) data[(2 + Math.floor(next() * 6)) * width + 2 + Math.floor(next() * 6)] = 0.3 + 0.4 * next();
  return { ...picture, name: "speckled digit", shape: [picture.shape[0], height, width], data };
}

/** Rows as CSV, typed or out of a file. @returns {Given} */
export function tableItems({ full, state, changed }) {
  const field = text(state, "rows", "Rows as CSV", { value: exampleTable(full.manifest.data), rows: 9, wrap: "off", hint: "The first line names the columns." });
  const read = async () => readCsv(field.value()).slice(1).map((cells, i) => ({ name: `row ${i + 1}`, cells }));
  return { element: h("div.stack", {}, field.element, fileButton(".csv,text/csv", (content) => (field.set(content), changed()))), read, csv: field.value };
}

/** Texts, one a line. @returns {Given} */
export function textItems({ state, changed }) {
  const field = text(state, "texts", "Texts, one a line", { value: EXAMPLE_TEXT, rows: 9 });
  const read = async () => field.value().split("\n").filter((line) => line.trim()).map((line) => ({ name: line, text: line }));
  return { element: h("div.stack", {}, field.element, fileButton(".txt,text/plain", (content) => (field.set(content), changed()))), read };
}

/** A button that reads a file of text; one can be dropped on it too. */
function fileButton(accept, onread) {
  const input = h("input.hidden", { type: "file", accept, tabindex: "-1", "aria-hidden": "true" });
  const take = async (file) => file && onread(await file.text());
  input.addEventListener("change", () => (take(input.files[0]), (input.value = "")));
  const zone = h("div.zone", {}, h("p.muted", {}, "Drop a file, or"), h("div.row", {}, h("button.plain.small", { type: "button", onclick: () => input.click() }, "Choose a file")), input);
  zone.addEventListener("dragover", (event) => (event.preventDefault(), (zone.dataset.over = "true")));
  zone.addEventListener("dragleave", () => (zone.dataset.over = "false"));
  zone.addEventListener("drop", (event) => (event.preventDefault(), (zone.dataset.over = "false"), take(event.dataTransfer.files[0])));
  return zone;
}
