// Something to score where nothing is at hand, by the data that a model was made for.

import { normal } from "./random.js";

const PEN = [0.1, 0.8, 0.4, 1, 0.8, 0.9, 0.7, 0.6, 0.3, 0.25, 0, 0, 0.5, 0.05, 1, 0.03];

/**
 * A table as CSV: rows like one that is normal, and one with a number out of place.
 * @param {any} data of a manifest
 */
export function exampleTable(data) {
  const names = data.columns?.length ? data.columns.map((column) => column.name) : data.column_names;
  if (data.dataset !== "pendigits") return `${names.join(",")}\n`;
  const wobble = normal(3, 11 * PEN.length);
  const rows = Array.from({ length: 11 }, (_, i) => PEN.map((v, j) => Math.min(1, Math.max(0, v + 0.015 * wobble[i * PEN.length + j]))));
  rows.push(PEN.map((v, j) => (j === 6 ? 0 : v)));
  return [names, ...rows.map((row) => row.map((v) => v.toFixed(3)))].map((row) => row.join(",")).join("\n");
}

export const EXAMPLE_TEXT = `To be, or not to be: that is the question.
Good morrow, cousin.
The king himself is rode to view their battle.
Click here to win a free phone!!!
qzx vvv jjj kkq`;
