// Why an item is unusual: the surprise over a picture, by column, or by token.

import { h } from "../dom.js";
import { canvasOf } from "../pictures.js";
import { legend, tokenSpan } from "./tokens.js";

/**
 * A picture in grey with its surprise over it, beside the picture.
 * @param {import("../pictures.js").Picture} picture
 * @param {number[][][]} surprise (C, H, W)
 * @param {number} usual what is not to be shown yet
 */
export function surpriseMap(picture, surprise, usual) {
  const [, height, width] = picture.shape;
  const total = Array.from({ length: height * width }, (_, i) => surprise.reduce((sum, plane) => sum + plane[Math.floor(i / width)][i % width], 0));
  const most = Math.max(...total, 2 * usual, 1e-9);
  const over = new ImageData(width, height);
  total.forEach((value, i) => {
    const share = Math.max(0, (value - usual) / (most - usual || 1));
    over.data.set([255, 84, 20, Math.round(235 * Math.sqrt(share))], 4 * i);
  });
  const layer = document.createElement("canvas");
  [layer.width, layer.height] = [width, height];
  layer.getContext("2d").putImageData(over, 0, 0);
  const both = canvasOf(picture);
  both.getContext("2d").drawImage(layer, 0, 0);
  const peak = total.indexOf(Math.max(...total));
  const named = (canvas, label) => (canvas.setAttribute("role", "img"), canvas.setAttribute("aria-label", label), h("div.plate", {}, canvas));
  return h(
    "div.maps",
    {},
    named(canvasOf(picture), `The picture ${picture.name}`),
    named(both, `Its surprise, the most at column ${(peak % width) + 1} of row ${Math.floor(peak / width) + 1}`),
  );
}

/**
 * Contributions of columns, the largest first.
 * @param {Record<string, number>} surprise
 */
export function columnBars(surprise) {
  const sorted = Object.entries(surprise).sort((a, b) => b[1] - a[1]);
  const most = Math.max(...sorted.map(([, value]) => Math.abs(value)), 1e-9);
  const rows = sorted.map(([name, value]) => {
    const bar = h("span.bar", { "aria-hidden": "true" });
    bar.style.inlineSize = `${(100 * Math.max(0, value)) / most}%`;
    return h("tr", {}, h("th", { scope: "row" }, name), h("td.number", {}, value.toFixed(3)), h("td.track", { "aria-hidden": "true" }, bar));
  });
  return h("table.columns", {}, h("caption", {}, "Surprise by column"), h("tbody", {}, rows));
}

/** A text by its tokens. */
export const tokenColours = (/** @type {{token: string, surprise: number}[]} */ tokens) =>
  h("div", {}, h("p.paper.still", { "data-colours": "true" }, tokens.map(({ token, surprise }) => tokenSpan(token, surprise))), legend());
