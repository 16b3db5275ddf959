// The latent space of a model that decodes: a pad for two directions and sliders for more, drawn as they move.

import { sendForBytes, sendForJson } from "../api.js";
import { h } from "../dom.js";
import { along, MEASURABLE, measuredDirections, placesOf, randomDirections } from "../latents.js";
import { wayOf } from "../models.js";
import { readNpy } from "../npy.js";
import { seed, slider } from "../parts/fields.js";
import { pad } from "../parts/pad.js";
import { latest } from "../parts/pool.js";
import { Run } from "../parts/run.js";
import { normal } from "../random.js";
import { State } from "../state.js";

const PICTURES = 256;
const DIRECTIONS = 6;

/**
 * @param {any} draw the panel
 * @returns {HTMLElement | ""}
 */
export function latentSpace(draw) {
  if (wayOf(draw.current) !== "decode") return "";
  const space = new LatentSpace(draw, draw.current);
  const section = h("details.section", {}, h("summary", {}, "Latent space"), space.element);
  section.addEventListener("toggle", () => section.open && space.open());
  return section;
}

class LatentSpace {
  constructor(draw, model) {
    this.draw = draw;
    this.model = model;
    this.size = model.latent_size;
    this.reach = this.size <= MEASURABLE ? 3 : Math.sqrt(this.size);
    this.run = new Run();
    this.base = seed(draw.state, "base", () => this.#rebase(), "Begin at latents of seed");
    this.image = h("img.plate", { alt: "What the model draws of these latents", hidden: true });
    this.sliders = h("div.stack");
    this.pad = pad("Two directions", this.reach, ([x, y]) => this.#place([x, y]));
    const which = draw.class ? " The class is the one at the left, or the first." : "";
    const hint = this.size <= MEASURABLE
      ? `The directions are measured: those in which ${PICTURES} pictures of this model differ most.`
      : `${this.size} latents are too many to measure: the directions are drawn by chance.`;
    this.element = h("div.space", {}, h("p.fine.muted", {}, hint + which), this.run.bar, h("div.axes", {}, h("div.plate.empty", {}, this.image), h("figure.padded", {}, this.pad.element, h("figcaption.fine", {}, "Directions 1 and 2")), h("div.stack", {}, this.base.element, this.sliders)));
    this.redraw = latest(() => this.run.start("Drawing", (signal) => this.#decode(signal)));
  }

  async open() {
    if (this.directions) return;
    await this.run.start("Looking for directions", async (signal) => {
      this.directions = this.size <= MEASURABLE ? await this.#measure(signal) : randomDirections(7, this.size, DIRECTIONS);
    }, () => this.open());
    if (this.directions) this.#rebase();
  }

  async #measure(signal) {
    const z = normal(11, PICTURES * this.size);
    const json = { ...this.draw.wishes(), n: PICTURES, latents: rows(z, this.size) };
    const bytes = await sendForBytes({ path: "v1/images/generations", json, accept: "application/x-npy" }, signal);
    return measuredDirections(z, this.size, readNpy(bytes).data, DIRECTIONS);
  }

  /** Other latents to begin at. */
  #rebase() {
    if (!this.directions) return;
    this.latents = normal(this.base.value(), this.size);
    this.places = placesOf(this.latents, this.directions);
    const apart = new State("latents"); // places are not kept in the address: they change while one drags
    apart.write = () => {};
    this.fields = this.places.map((value, k) =>
      slider(apart, `d${k}`, `Direction ${k + 1}`, { min: -this.reach, max: this.reach, step: 0.05, value, show: (v) => v.toFixed(1), onchange: () => this.#slide(k) }),
    );
    this.sliders.replaceChildren(...this.fields.slice(2).map((field) => field.element));
    this.pad.set(this.places);
    this.redraw();
  }

  #slide(k) {
    this.places[k] = this.fields[k].value();
    this.redraw();
  }

  #place([x, y]) {
    if (!this.places) return;
    [this.places[0], this.places[1]] = [x, y];
    this.redraw();
  }

  async #decode(signal) {
    const z = along(this.latents, this.directions, this.places);
    const json = { ...this.draw.wishes(), latents: rows(z, this.size) };
    this.draw.bench.code.show({ path: "v1/images/generations", json, accept: "image/png", save: "picture.png" });
    const answer = await sendForJson({ path: "v1/images/generations", json }, signal);
    this.image.src = `data:image/png;base64,${answer.data[0].b64_json}`;
    this.image.hidden = false;
  }
}

/** As JSON takes them, with as many digits as make a difference. */
const rows = (z, size) =>
  Array.from({ length: z.length / size }, (_, i) => Array.from(z.subarray(i * size, (i + 1) * size), (v) => Math.round(v * 1e4) / 1e4));
