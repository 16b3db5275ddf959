// Principal components by orthogonal iteration: pure, and the same in every browser.

import { normal } from "./random.js";

const ROUNDS = 40;

/**
 * @param {Float32Array} x (n, d), rows after rows
 * @param {number} n
 * @param {number} d
 * @param {number} count of components
 * @returns {{scores: Float32Array, explained: number[]}} scores (n, count); explained shares of the variance
 */
export function principalComponents(x, n, d, count) {
  const centred = centre(x, n, d);
  const total = centred.reduce((sum, v) => sum + v * v, 0) || 1;
  const scores = new Float32Array(n * count);
  const explained = [];
  let axes = Array.from({ length: count }, (_, k) => Float64Array.from(normal(k + 1, d)));
  for (let round = 0; round < ROUNDS; round++) {
    orthonormalise(axes);
    if (round < ROUNDS - 1) axes = axes.map((axis) => back(centred, forward(centred, axis, n, d), n, d));
  }
  axes.forEach((axis, k) => {
    const score = forward(centred, withSign(axis), n, d);
    for (let i = 0; i < n; i++) scores[i * count + k] = score[i];
    explained.push(score.reduce((sum, v) => sum + v * v, 0) / total);
  });
  return { scores, explained };
}

function centre(x, n, d) {
  const mean = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let j = 0; j < d; j++) mean[j] += x[i * d + j] / n;
  return x.map((v, at) => v - mean[at % d]);
}

/** X a (n,) */
function forward(x, axis, n, d) {
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) for (let j = 0, at = i * d; j < d; j++, at++) out[i] += x[at] * axis[j];
  return out;
}

/** X' s (d,) */
function back(x, score, n, d) {
  const out = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let j = 0, at = i * d; j < d; j++, at++) out[j] += x[at] * score[i];
  return out;
}

/** Gram and Schmidt, in place. */
function orthonormalise(axes) {
  axes.forEach((axis, k) => {
    for (const before of axes.slice(0, k)) {
      const along = axis.reduce((sum, v, j) => sum + v * before[j], 0);
      for (let j = 0; j < axis.length; j++) axis[j] -= along * before[j];
    }
    const length = Math.sqrt(axis.reduce((sum, v) => sum + v * v, 0)) || 1;
    for (let j = 0; j < axis.length; j++) axis[j] /= length;
  });
}

/** A component has no sign of its own: its largest part is made positive, so that a map never flips. */
function withSign(axis) {
  const largest = axis.reduce((best, v) => (Math.abs(v) > Math.abs(best) ? v : best), 0);
  return largest < 0 ? axis.map((v) => -v) : axis;
}
