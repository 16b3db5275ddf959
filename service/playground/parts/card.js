// A model's card: what it is, how good it was measured to be, and where it comes from.

import { send, sendForJson } from "../api.js";
import { h } from "../dom.js";
import { fullModel } from "../models.js";

/**
 * Show a model's card; a later call wins.
 * @param {HTMLElement} place
 * @param {string} id
 */
export async function showCard(place, id) {
  if (place.dataset.model === id) return;
  place.dataset.model = id;
  try {
    const full = await fullModel(id);
    if (place.dataset.model !== id) return;
    place.replaceChildren(...cardOf(full));
    if (full.manifest.sheet) showSheet(place, id);
    if (full.manifest.calibration) showDrift(place, id);
  } catch {
    if (place.dataset.model !== id) return;
    delete place.dataset.model;
    place.replaceChildren(h("h3", {}, id), h("p.muted", {}, "Its card could not be read."));
  }
}

function cardOf(full) {
  const { manifest } = full;
  return [
    h("header", {}, h("h3", {}, full.id), h("span.fine", {}, `version ${full.version} · ${full.family}`)),
    h("p", {}, full.description),
    h("div.figures", {}, h("div", {}, measured(manifest.evaluation), facts(full)), h("figure.sheet", { hidden: true })),
    h("p.fine.drift", { hidden: true }),
    h("p.fine", {}, manifest.licence),
  ];
}

function measured(evaluation) {
  if (!evaluation.length) return h("p.muted", {}, "No figures were measured.");
  const rows = evaluation.map((e) =>
    h("tr", {}, h("th", { scope: "row", title: e.note || null }, e.metric, h("small", {}, `${e.data}; n = ${count(e.size)}`)), h("td.number", {}, `${figure(e.value)} ${e.unit}`)),
  );
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Measured figures" }, h("table.plainly", {}, h("caption", {}, "Measured"), h("tbody", {}, rows)));
}

function facts(full) {
  const { manifest } = full;
  const { provenance = {}, calibration, latent } = manifest;
  const parameters = provenance.parameters;
  const pairs = [
    ["Can", full.tasks.join(", ")],
    ["Graphs", full.capabilities.join(", ")],
    calibration && ["Calibrated on", `${count(calibration.size)} items: ${calibration.data}`],
    latent && ["Latents", `${count(latent.size)}`],
    parameters && ["Parameters", count(parameters)],
    provenance.hardware && ["Trained on", `${provenance.hardware}${provenance.wall_time_seconds ? `, ${duration(provenance.wall_time_seconds)}` : ""}`],
  ];
  return h("dl", {}, pairs.filter(Boolean).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** As an image of ours, because <img> sends no key. */
async function showSheet(place, id) {
  const answer = await send({ path: `v1/models/${id}/sheet` }).catch(() => null);
  const figure = place.querySelector(".sheet");
  if (!answer || place.dataset.model !== id || !figure) return;
  const url = URL.createObjectURL(await answer.blob());
  figure.replaceChildren(h("img", { src: url, alt: `A sheet of what ${id} does`, onload: () => URL.revokeObjectURL(url) }));
  figure.hidden = false;
}

async function showDrift(place, id) {
  const drift = await sendForJson({ path: `v1/models/${id}/drift` }).catch(() => null);
  const line = place.querySelector(".drift");
  if (!drift?.size || place.dataset.model !== id || !line) return;
  line.textContent = `Lately: the p-values of the last ${count(drift.size)} items are ${figure(drift.ks)} away from uniform (Kolmogorov–Smirnov).`;
  line.hidden = false;
}

export const count = (/** @type {number} */ n) => n.toLocaleString("en");

/** A number with as many digits as mean something. */
export const figure = (/** @type {number} */ value) =>
  Math.abs(value) >= 1000 ? count(Math.round(value)) : String(Number(value.toPrecision(4)));

const duration = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);
