// Pictures as numbers: {name, shape: [C, H, W], data in [0, 1]}, as the service takes them.

import { normal } from "./random.js";

/** @typedef {{name: string, shape: [number, number, number], data: Float32Array}} Picture */

/**
 * Read a file that the browser knows.
 * @param {Blob & {name?: string}} file
 * @param {number} [longest] side in pixels; a larger picture is made smaller
 * @returns {Promise<Picture>}
 */
export async function fromFile(file, longest = 4096) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  return fromImageData(pixelsOf(bitmap, width, height), file.name ?? "picture.png");
}

/** @returns {Picture} of three channels */
export function fromImageData(/** @type {ImageData} */ { data, width, height }, /** @type {string} */ name) {
  const area = width * height;
  const out = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) out[c * area + i] = data[4 * i + c] / 255;
  return { name, shape: [3, height, width], data: out };
}

/**
 * The same in another shape; a side that is null stays.
 * @param {Picture} picture
 * @param {(number | null)[]} shape
 * @returns {Picture}
 */
export function toShape(picture, [channels, height, width]) {
  const [c, h, w] = picture.shape;
  const fitting = (height ?? h) === h && (width ?? w) === w ? picture : resized(picture, height ?? h, width ?? w);
  return fitting.shape[0] === (channels ?? c) ? fitting : withChannels(fitting, channels ?? c);
}

/** In PNG's 256 levels, as a file would hold it. */
export function rounded(/** @type {Picture} */ picture) {
  return { ...picture, data: picture.data.map((v) => Math.round(Math.min(1, Math.max(0, v)) * 255) / 255) };
}

/**
 * With noise on purpose: normal, of that standard deviation, cut off at black and white.
 * @param {Picture} picture
 * @param {number} sigma
 * @param {number} seed
 */
export function noisy(picture, sigma, seed) {
  const noise = normal(seed, picture.data.length);
  return rounded({ ...picture, data: picture.data.map((v, i) => v + sigma * noise[i]) });
}

/** Peak signal-to-noise ratio in dB of a picture beside the one that it should be. */
export function psnr(/** @type {Picture} */ a, /** @type {Picture} */ b) {
  const error = a.data.reduce((sum, v, i) => sum + (v - b.data[i]) ** 2, 0) / a.data.length;
  return error ? -10 * Math.log10(error) : Infinity;
}

/**
 * @param {Picture} picture
 * @param {boolean[]} [hidden] pixels (H × W) that are transparent
 * @returns {HTMLCanvasElement}
 */
export function canvasOf({ shape: [c, h, w], data }, hidden) {
  const pixels = new ImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = Math.round(255 * data[(c === 3 ? k : 0) * h * w + i]);
    pixels.data[4 * i + 3] = hidden?.[i] ? 0 : 255;
  }
  const canvas = document.createElement("canvas");
  canvas.width = w;
  canvas.height = h;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * @param {Picture} picture
 * @param {boolean[]} [hidden] pixels (H × W) that are transparent
 * @returns {Promise<Blob>}
 */
export const pngOf = (picture, hidden) =>
  new Promise((resolve) => canvasOf(picture, hidden).toBlob((blob) => resolve(blob), "image/png"));

/** An address for <img>. */
export const urlOf = (/** @type {Picture} */ picture) => canvasOf(picture).toDataURL();

/**
 * Pictures of an array (N, C, H, W).
 * @param {{data: Float32Array, shape: number[]}} array
 * @param {(i: number) => string} name
 * @returns {Picture[]}
 */
export function fromArray({ data, shape: [n, ...shape] }, name) {
  const size = shape.reduce((a, b) => a * b);
  return Array.from({ length: n }, (_, i) => ({ name: name(i), shape: /** @type {any} */ (shape), data: data.slice(i * size, (i + 1) * size) }));
}

function resized(picture, height, width) {
  const data = pixelsOf(canvasOf(picture), width, height);
  return fromImageData(data, picture.name);
}

function withChannels(picture, channels) {
  const [c, h, w] = picture.shape;
  const area = h * w;
  const weights = c === 3 ? [0.299, 0.587, 0.114] : [1];
  const grey = new Float32Array(area);
  for (let i = 0; i < area; i++) grey[i] = weights.reduce((sum, weight, k) => sum + weight * picture.data[k * area + i], 0);
  const data = new Float32Array(channels * area);
  for (let k = 0; k < channels; k++) data.set(c === channels ? picture.data.subarray(k * area, (k + 1) * area) : grey, k * area);
  return { ...picture, shape: /** @type {any} */ ([channels, h, w]), data };
}

/** Scaled down by halves first: one step of a browser's smoothing looks at few pixels. */
function pixelsOf(source, width, height) {
  let [w, h, from] = [source.width, source.height, source];
  for (;;) {
    const nextW = Math.max(width, w >> 1);
    const nextH = Math.max(height, h >> 1);
    const last = w < 2 * width || h < 2 * height;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = last ? [width, height] : [nextW, nextH];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(from, 0, 0, canvas.width, canvas.height);
    if (last) return context.getImageData(0, 0, width, height);
    [w, h, from] = [canvas.width, canvas.height, canvas];
  }
}
