// Two small charts of scores: where items lie among normal ones, and whether their p-values are uniform.

import { svg } from "../dom.js";

const WIDTH = 420;
const HEIGHT = 150;
const FOOT = 22;
const BINS = 36;

/**
 * Items on the spread of normal scores.
 * @param {{levels: number[], quantiles: number[]}} normal
 * @param {{score: number, flagged: boolean}[]} items
 * @param {number | null} chosen
 */
export function scoreChart({ levels, quantiles }, items, chosen) {
  const [low, high] = [quantiles[0], quantiles[quantiles.length - 1]];
  const middle = quantiles[75] - quantiles[25] || 1;
  const reach = Math.max(low - 3 * middle, Math.min(low, ...items.map((item) => item.score)));
  const [from, to] = [reach - 0.02 * (high - reach), Math.max(high, ...items.map((item) => item.score)) + 0.02 * (high - reach)];
  const x = (score) => (WIDTH * (Math.min(to, Math.max(from, score)) - from)) / (to - from);
  const edges = Array.from({ length: BINS + 1 }, (_, i) => from + (i * (to - from)) / BINS);
  const masses = edges.slice(1).map((edge, i) => below(edge, levels, quantiles) - below(edges[i], levels, quantiles));
  const outside = items.filter((item) => item.score < from).length;
  const marks = items.map((item, i) =>
    svg(`line.mark${item.flagged ? ".flagged" : ""}${i === chosen ? ".chosen" : ""}`, { x1: x(item.score), x2: x(item.score), y1: HEIGHT - FOOT - (i === chosen ? HEIGHT - FOOT : 34), y2: HEIGHT - FOOT }),
  );
  const label = `Scores of ${items.length} items beside those of normal ones, which lie from ${short(low)} to ${short(high)}${outside ? `; ${outside} lie further left` : ""}`;
  return chart(label, [bars(masses), ...marks], [[0, short(from), "start"], [WIDTH, short(to), "end"], [WIDTH / 2, "score: unusual … usual", "middle"]]);
}

/**
 * p-values, with the line that those of normal items follow.
 * @param {number[]} values
 * @param {number} alpha
 */
export function pValueChart(values, alpha) {
  const bins = 20;
  const counts = new Array(bins).fill(0);
  for (const p of values) counts[Math.min(bins - 1, Math.max(0, Math.ceil(p * bins - 1e-9) - 1))]++;
  const even = values.length / bins;
  const top = Math.max(...counts, even);
  const y = HEIGHT - FOOT - ((HEIGHT - FOOT - 8) * even) / top;
  const label = `p-values of ${values.length} items: ${counts[0]} are at most 0.05, where normal items would have ${even.toFixed(1)}`;
  const lines = [
    svg("line.even", { x1: 0, x2: WIDTH, y1: y, y2: y }),
    svg("line.alpha", { x1: alpha * WIDTH, x2: alpha * WIDTH, y1: 0, y2: HEIGHT - FOOT }),
  ];
  return chart(label, [bars(counts, top), ...lines], [[0, "0", "start"], [WIDTH, "1", "end"], [WIDTH / 2, "p-value; the line is uniform", "middle"]]);
}

function bars(masses, top = Math.max(...masses)) {
  const width = WIDTH / masses.length;
  const rects = masses.map((mass, i) => {
    const height = ((HEIGHT - FOOT - 8) * mass) / (top || 1);
    return svg("rect.bar", { x: i * width + 0.5, width: width - 1, y: HEIGHT - FOOT - height, height });
  });
  return svg("g", {}, rects);
}

function chart(label, content, words) {
  const texts = words.map(([x, text, anchor]) => svg("text", { x, y: HEIGHT - 6, "text-anchor": anchor }, text));
  const axis = svg("line.axis", { x1: 0, x2: WIDTH, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT });
  return svg("svg.chart", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, content, axis, texts);
}

/** The share of normal scores below a value, between the quantiles. */
function below(value, levels, quantiles) {
  const at = quantiles.findIndex((q) => q > value);
  if (at < 0) return 1;
  if (at === 0) return 0;
  const gap = quantiles[at] - quantiles[at - 1];
  return levels[at - 1] + ((levels[at] - levels[at - 1]) * (value - quantiles[at - 1])) / (gap || 1);
}

const short = (value) => String(Number(value.toPrecision(3)));
