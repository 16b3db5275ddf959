// Draw: pictures by a model, sharpening as they come; each has a seed of its own, by which it can be had again.

import { stream } from "../api.js";
import { h } from "../dom.js";
import { able, fullModel, takes, wayOf } from "../models.js";
import { Bench } from "../parts/bench.js";
import { choice, seed, slider } from "../parts/fields.js";
import { Grid } from "../parts/grid.js";
import { pool } from "../parts/pool.js";
import { chosenPicture } from "./draw-chosen.js";
import { latentSpace } from "./draw-latents.js";
import { walk } from "./draw-walk.js";

const AT_ONCE = 4;
const PREVIEWS = 8;
const ANY = "each in turn";

/**
 * @param {HTMLElement} root
 * @param {import("../models.js").Model[]} models
 * @param {import("../state.js").State} state
 */
export function mount(root, models, state) {
  const drawers = able(models, "generate", "image").filter((model) => !model.data.shape.includes(null));
  if (!drawers.length) return Bench.nothing(root, "Draw", "draw");
  const bench = new Bench(root, "Draw", "Pictures out of noise. The same model and seed give the same picture, to the bit.");
  const panel = new Draw(bench, drawers, state);
  panel.chooseModel();
  return () => bench.run.stop();
}

class Draw {
  constructor(bench, models, state) {
    this.bench = bench;
    this.models = models;
    this.state = state;
    this.model = choice(state, "model", "Model", models.map((m) => m.id), { onchange: () => this.chooseModel() });
    this.own = h("div.stack");
    this.count = slider(state, "n", "Pictures", { min: 1, max: 48, value: 12 });
    this.seed = seed(state, "seed", () => this.draw());
    this.button = h("button.primary.wide", { type: "submit" }, "Draw");
    bench.controls.addEventListener("submit", () => this.draw());
    this.grid = new Grid("Pictures", (i) => this.#choose(i));
    this.details = h("div.details");
    this.more = h("div.stack");
    bench.stage.append(this.grid.element, this.details, this.more);
  }

  /** Controls for what this model has, and a first drawing. */
  async chooseModel() {
    const model = this.models.find((m) => m.id === this.model.value());
    this.bench.showCard(model.id);
    await this.bench.run.start("Asking what the model can", async () => {
      this.full = await fullModel(model.id);
    }, () => this.chooseModel());
    if (this.full?.id !== model.id || this.model.value() !== model.id) return;
    this.current = model;
    this.#ownControls(model);
    this.more.replaceChildren(walk(this), latentSpace(this));
    this.draw();
  }

  #ownControls(model) {
    const { sampling, data } = this.full.manifest;
    const way = wayOf(model);
    const classes = takes(this.full, way, "label") ? data.class_names : [];
    this.class = classes.length ? choice(this.state, "class", "Class", [ANY, ...classes], { onchange: () => this.draw() }) : null;
    this.steps = way === "denoise_step" ? slider(this.state, "steps", "Steps", { min: 1, max: sampling.max_steps, value: sampling.steps }) : null;
    this.sampler = way === "denoise_step" ? choice(this.state, "sampler", "Sampler", sampling.samplers) : null;
    this.guidance = way === "denoise_step" && classes.length ? slider(this.state, "guidance", "Guidance", { min: 1, max: 6, step: 0.1, value: sampling.guidance ?? 1, show: (v) => v.toFixed(1) }) : null;
    this.temperature = way === "next_token" ? slider(this.state, "temperature", "Temperature", { min: 0, max: 2, step: 0.05, value: sampling.temperature ?? 1, show: (v) => v.toFixed(2) }) : null;
    const there = [this.class, this.steps, this.sampler, this.guidance, this.temperature].filter(Boolean);
    this.own.replaceChildren(...there.map((field) => field.element));
    // Together, when it is known which there are: nothing jumps.
    if (!this.button.isConnected) this.bench.controls.append(this.model.element, this.own, this.count.element, this.seed.element, this.button);
  }

  /** What is wished for beside the seed; `name` a class or "" for the one that is chosen. */
  wishes(name = "") {
    const wanted = name || (this.class && this.class.value() !== ANY ? this.class.value() : "");
    const given = { model: this.current.id };
    if (wanted) given.prompt = wanted;
    if (this.steps) given.steps = this.steps.value();
    if (this.sampler) given.sampler = this.sampler.value();
    if (this.guidance && wanted) given.guidance = this.guidance.value();
    if (this.temperature) given.temperature = this.temperature.value();
    return given;
  }

  draw() {
    if (!this.current) return;
    const names = this.class ? this.full.manifest.data.class_names : [""];
    const turns = this.class?.value() === ANY;
    const first = this.seed.value();
    this.pictures = Array.from({ length: this.count.value() }, (_, i) => {
      const name = turns ? names[i % names.length] : (this.class?.value() ?? "");
      return { seed: first + i, class: name, wishes: this.wishes(name), url: "", seconds: 0 };
    });
    this.details.replaceChildren(h("p.muted.fine", {}, "Choose a picture to have it again, or to go on from it."));
    this.grid.begin(this.pictures.map((p) => `Seed ${p.seed}${p.class && `, class ${p.class}`}`));
    this.bench.code.show(this.askFor(this.pictures[0]));
    const begin = performance.now();
    return this.bench.run.start("Drawing", async (signal) => {
      await pool(this.pictures, AT_ONCE, (picture, i) => this.#drawOne(picture, i, signal));
      const seconds = (performance.now() - begin) / 1000;
      return `${this.pictures.length} ${this.pictures.length > 1 ? "pictures" : "picture"} in ${seconds.toFixed(2)} s, each asked for by itself`;
    }, () => this.draw());
  }

  /** The request of one picture, as code shows it. */
  askFor(picture) {
    return { path: "v1/images/generations", json: { ...picture.wishes, seed: picture.seed }, accept: "image/png", save: "picture.png" };
  }

  async #drawOne(picture, i, signal) {
    const previews = this.steps ? Math.min(PREVIEWS, this.steps.value() - 1) : 0;
    const begin = performance.now();
    const json = { ...picture.wishes, seed: picture.seed, stream: true, ...(previews > 0 && { partial_images: previews }) };
    for await (const event of stream({ path: "v1/images/generations", json }, signal)) {
      const whole = event.type === "image_generation.completed";
      picture.url = `data:image/png;base64,${event.b64_json}`;
      this.grid.show(i, picture.url, whole ? 1 : (event.partial_image_index + 1) / (previews + 1));
    }
    picture.seconds = (performance.now() - begin) / 1000;
  }

  #choose(i) {
    const picture = this.pictures[i];
    if (!picture.url) return;
    this.bench.code.show(this.askFor(picture));
    this.details.replaceChildren(chosenPicture(this, picture));
  }

  /** Draw from this picture's seed on, in its class. */
  again(picture) {
    this.seed.set(picture.seed);
    if (picture.class) this.class.set(picture.class);
    this.draw();
  }
}
