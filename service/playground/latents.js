// Directions through a latent space of unit noise, and latents along them.

import { principalComponents } from "./pca.js";
import { normal } from "./random.js";

/** Above this many, latents are too many to find directions from a few hundred pictures. */
export const MEASURABLE = 256;

/**
 * Directions in which pictures change most: for each principal component of the pictures, the latents' regression on it.
 * @param {Float32Array} z latents (n, size), rows after rows
 * @param {number} size
 * @param {Float32Array} x what was drawn of them (n, pixels)
 * @param {number} count of directions
 * @returns {Float32Array[]} orthogonal, of length 1
 */
export function measuredDirections(z, size, x, count) {
  const n = z.length / size;
  const { scores } = principalComponents(x, n, x.length / n, count);
  const directions = [];
  for (let k = 0; k < count; k++) {
    const direction = new Float32Array(size);
    for (let i = 0; i < n; i++) for (let j = 0; j < size; j++) direction[j] += scores[i * count + k] * z[i * size + j];
    for (const before of directions) addTo(direction, before, -dot(direction, before));
    directions.push(scaled(direction, 1 / Math.sqrt(dot(direction, direction))));
  }
  return directions;
}

/** Directions by chance: almost orthogonal, because there are many dimensions. */
export const randomDirections = (/** @type {number} */ seed, /** @type {number} */ size, /** @type {number} */ count) =>
  Array.from({ length: count }, (_, k) => {
    const direction = normal(seed + k, size);
    return scaled(direction, 1 / Math.sqrt(dot(direction, direction)));
  });

/**
 * The latents that have these places along the directions, and what the base has otherwise.
 * @param {Float32Array} base
 * @param {Float32Array[]} directions
 * @param {number[]} places in standard deviations
 */
export function along(base, directions, places) {
  const z = base.slice();
  directions.forEach((direction, k) => addTo(z, direction, places[k] - dot(z, direction)));
  return z;
}

/** Where latents lie along directions. */
export const placesOf = (/** @type {Float32Array} */ z, /** @type {Float32Array[]} */ directions) => directions.map((d) => dot(z, d));

const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
const scaled = (a, factor) => a.map((v) => v * factor);
function addTo(a, b, factor) {
  for (let i = 0; i < a.length; i++) a[i] += factor * b[i];
}
