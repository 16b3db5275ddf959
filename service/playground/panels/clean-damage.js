// What can be wrong with a picture, which models undo it, and the request that asks one to.

import { noisy, pngOf, rounded, toShape } from "../pictures.js";

/** @typedef {import("../models.js").Model} Model */

export const DAMAGES = [
  { name: "noise", title: "Noise" },
  { name: "hole", title: "A hole" },
  { name: "small", title: "Half its size" },
];

/** Whether a model takes pictures of one size only. */
export const isFixed = (/** @type {Model} */ model) => !model.data.shape.includes(null);

const RIGHTS = {
  noise: (model) => model.tasks.includes("denoise") || (model.tasks.includes("restore") && !model.restores),
  hole: (model) => model.tasks.includes("edit"),
  small: (model) => model.restores === "downscale",
};

/** Models that undo a damage, made for it first; those of one size beside those of any. */
export const applicable = (/** @type {string} */ damage, /** @type {Model[]} */ models) => models.filter(RIGHTS[damage]);

/**
 * Spoil a picture as a model would meet it.
 * @param {string} damage
 * @param {Model} model
 * @param {import("../pictures.js").Picture} picture
 * @param {any} settings
 * @returns {Promise<{ask: import("../api.js").Ask, right: any, spoilt: any}>} `right` is what should come out
 */
export async function spoil(damage, model, picture, settings) {
  const right = rounded(toShape(picture, model.data.shape));
  return { noise: withNoise, hole: withHole, small: halved }[damage](model, right, settings);
}

async function withNoise(model, right, { sigma, seed, told }) {
  const spoilt = noisy(right, sigma, seed);
  const denoises = model.tasks.includes("denoise");
  const [low, high] = model.sigma_range ?? [0, 0];
  const level = told && denoises && model.sigma_range ? { sigma: Math.min(high, Math.max(low, sigma)) } : {};
  return { right, spoilt, ask: await asking(denoises ? "v1/images/denoise" : "v1/images/restore", { model: model.id, ...level }, spoilt) };
}

async function withHole(model, right, { hole, seed }) {
  const [, h, w] = right.shape;
  const inside = {
    lower: (y) => y >= h / 2,
    right: (_, x) => x >= w / 2,
    middle: (y, x) => Math.abs(y - h / 2) < h / 5 && Math.abs(x - w / 2) < w / 5,
  }[hole];
  const gone = Array.from({ length: h * w }, (_, i) => inside(Math.floor(i / w), i % w));
  const spoilt = { ...right, data: right.data.map((v, i) => (gone[i % (h * w)] ? 0.35 : v)) };
  const fields = { model: model.id, ...(model.restores === "mask" ? {} : { seed }) };
  return { right, spoilt, ask: await asking("v1/images/edits", fields, right, gone) };
}

async function halved(model, right) {
  const [, h, w] = right.shape;
  const spoilt = rounded(toShape(right, [null, Math.floor(h / 2), Math.floor(w / 2)]));
  return { right, spoilt, ask: await asking("v1/images/restore", { model: model.id }, spoilt) };
}

/** A hole is where the picture is transparent. */
async function asking(path, fields, picture, hidden) {
  const [, height, width] = picture.shape;
  const files = [{ field: "image", file: `picture-${width}x${height}.png`, blob: await pngOf(picture, hidden) }];
  return { path, fields, files, accept: "image/png", save: `clean-${fields.model}.png` };
}
