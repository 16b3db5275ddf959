// The models that the service has.

import { sendForJson } from "./api.js";

/**
 * @typedef {object} Model what the list says of a model
 * @property {string} id
 * @property {string} family
 * @property {string} description
 * @property {string[]} tasks
 * @property {string[]} default_for
 * @property {string[]} capabilities
 * @property {string[]} samplers
 * @property {string | null} restores
 * @property {[number, number] | null} sigma_range
 * @property {number | null} latent_size
 * @property {{kind: "image" | "vector" | "text", dataset: string, shape: (number | null)[], class_names: string[]}} data
 */

/** @type {Promise<Model[]> | null} */
let listed = null;
/** @type {Map<string, Promise<any>>} */
const cards = new Map();

/** All that serve. Asked for once; again after a failure. */
export function allModels() {
  listed ??= sendForJson({ path: "v1/models" }).then((answer) => answer.data);
  listed.catch(() => (listed = null));
  return listed;
}

/** A model with its manifest. */
export function fullModel(/** @type {string} */ id) {
  if (!cards.has(id)) {
    const card = sendForJson({ path: `v1/models/${id}` });
    card.catch(() => cards.delete(id));
    cards.set(id, card);
  }
  return cards.get(id);
}

/** Forget what was answered: with another key the answer may be another. */
export function forgetModels() {
  listed = null;
  cards.clear();
}

/**
 * Those that can do a task, its default first.
 * @param {Model[]} models
 * @param {string} task
 * @param {string} [kind] of data
 */
export function able(models, task, kind) {
  const can = models.filter((model) => model.tasks.includes(task) && (!kind || model.data.kind === kind));
  return can.sort((a, b) => Number(b.default_for.includes(task)) - Number(a.default_for.includes(task)));
}

/**
 * Whether a graph takes an input of that name.
 * @param {any} full a model with its manifest
 * @param {string} capability
 * @param {string} name
 */
export const takes = (full, capability, name) =>
  Boolean(full.manifest.capabilities[capability]?.inputs.some((input) => input.name === name));

/**
 * How a model draws, the first that it can.
 * @returns {"decode" | "denoise_step" | "next_token"}
 */
export const wayOf = (/** @type {Model} */ model) =>
  /** @type {any} */ (["decode", "denoise_step", "next_token"].find((way) => model.capabilities.includes(way)));

/** Whether a model says where its surprise lies. */
export function explains(/** @type {any} */ full) {
  const { capabilities, data } = full.manifest;
  if (capabilities.score) return capabilities.score.outputs.some((output) => output.name === "surprise");
  const map = capabilities.log_density?.outputs.find((output) => output.name === "log_prob_map");
  return Boolean(map) && (data.kind === "text" || String(map.shape.slice(1)) === String(data.shape));
}
