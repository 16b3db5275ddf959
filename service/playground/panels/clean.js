// Clean: a picture that is spoilt on purpose, or was so already, and what several models make of it.

import { sendForBytes } from "../api.js";
import { h } from "../dom.js";
import { able } from "../models.js";
import { readNpy } from "../npy.js";
import { Bench } from "../parts/bench.js";
import { compare } from "../parts/compare.js";
import { choice, seed, several, slider, toggle } from "../parts/fields.js";
import { showProblem } from "../parts/notice.js";
import { latest } from "../parts/pool.js";
import { scene } from "../parts/scene.js";
import { examplePictures, hasExamples, source } from "../parts/source.js";
import { canvasOf, fromArray, psnr, urlOf } from "../pictures.js";
import { asProblem } from "../problem.js";
import { applicable, DAMAGES, isFixed, spoil } from "./clean-damage.js";

const SMALL = 64;

/**
 * @param {HTMLElement} root
 * @param {import("../models.js").Model[]} models
 * @param {import("../state.js").State} state
 */
export function mount(root, models, state) {
  const cleaners = [...new Set(["denoise", "restore", "edit"].flatMap((task) => able(models, task, "image")))];
  const damages = DAMAGES.filter(({ name }) => applicable(name, cleaners).length);
  if (!damages.length) return Bench.nothing(root, "Clean", "clean pictures");
  const bench = new Bench(root, "Clean", "Noise is taken away, holes are filled, small pictures are made larger. Compare models side by side.");
  const panel = new Clean(bench, cleaners, damages, state);
  panel.begin();
  return () => bench.run.stop();
}

class Clean {
  constructor(bench, cleaners, damages, state) {
    Object.assign(this, { bench, cleaners, state });
    this.original = h("div.original.plate");
    this.seen = 0;
    const more = [["A digit", () => this.#example()], ["Hills", () => this.take(scene())]].slice(this.#dataset() ? 0 : 1);
    const place = source({ many: false, onpictures: ([picture]) => this.take(picture), more });
    this.damage = choice(state, "damage", "What is wrong with it", damages.map(({ name, title }) => [name, title]), { onchange: () => this.#chooseDamage() });
    this.own = h("div.stack");
    bench.controls.append(h("div.pickup", {}, this.original, place), this.damage.element, this.own);
    this.results = h("div.compares");
    bench.stage.append(this.results);
    this.clean = latest(() => bench.run.start("Cleaning", (signal) => this.#cleanAll(signal), () => this.clean()));
  }

  begin() {
    this.#chooseDamage();
    if (this.#dataset()) this.#example();
    else this.take(scene());
  }

  /** The data set of the first model for whose pictures there are examples. */
  #dataset() {
    return this.cleaners.map((model) => model.data.dataset).find(hasExamples);
  }

  async #example() {
    try {
      const pictures = await examplePictures(this.#dataset());
      this.take(pictures[this.seen++ % pictures.length]);
    } catch (error) {
      showProblem(asProblem(error), () => this.#example());
    }
  }

  take(picture) {
    this.picture = picture;
    const [, height, width] = picture.shape;
    const canvas = canvasOf(picture);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `The picture: ${picture.name}, ${width} by ${height}`);
    canvas.classList.toggle("small", width <= SMALL);
    this.original.replaceChildren(canvas);
    this.clean();
  }

  #chooseDamage() {
    const name = this.damage.value();
    const onchange = () => this.clean();
    const can = applicable(name, this.cleaners);
    this.chosen = several(this.state, `${name}-models`, "Models", can.map((m) => [m.id, isFixed(m) ? m.data.shape.slice(1).join(" × ") : "any size"]), {
      value: can.slice(0, 3).map((m) => m.id),
      onchange: () => this.#showModels(),
    });
    this.fields = {};
    if (name === "noise") {
      this.fields.sigma = slider(this.state, "sigma", "Noise added", { min: 0, max: 0.6, step: 0.01, value: 0.2, show: (v) => v.toFixed(2), onchange, hint: "Standard deviation; black is 0, white is 1." });
      this.fields.seed = seed(this.state, "noise-seed", onchange, "Noise seed");
      this.fields.told = toggle(this.state, "told", "Tell the models how much", { onchange });
    }
    if (name === "hole") this.fields.hole = choice(this.state, "hole", "Where", [["lower", "lower half"], ["right", "right half"], ["middle", "middle"]], { onchange });
    if (name === "hole") this.fields.seed = seed(this.state, "edit-seed", onchange, "Seed");
    this.own.replaceChildren(...Object.values(this.fields).map((field) => field.element), this.chosen.element);
    this.#showModels();
  }

  #showModels() {
    const ids = this.chosen.value();
    this.views = new Map(ids.map((id) => [id, compare(id)]));
    this.results.replaceChildren(...[...this.views.values()].map((view) => view.element));
    this.results.dataset.count = String(ids.length);
    if (!ids.length) this.results.replaceChildren(h("p.muted", {}, "Choose a model to see what it makes of the picture."));
    this.bench.showCard(...ids);
    if (this.picture) this.clean();
  }

  async #cleanAll(signal) {
    if (!this.picture) return;
    const models = this.chosen.value().map((id) => this.cleaners.find((m) => m.id === id));
    const settings = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.value()]));
    const asks = await Promise.all(models.map((model) => spoil(this.damage.value(), model, this.picture, settings)));
    this.bench.code.show(...asks.map(({ ask }) => ask));
    await Promise.all(models.map((model, i) => this.#cleanOne(model, asks[i], this.views.get(model.id), signal)));
    return models.length ? `${models.length} ${models.length > 1 ? "models" : "model"} done` : "";
  }

  async #cleanOne(model, { ask, right, spoilt }, view, signal) {
    view.wait();
    const begin = performance.now();
    const bytes = await sendForBytes({ ...ask, accept: "application/x-npy" }, signal);
    const took = performance.now() - begin;
    const [clean] = fromArray(readNpy(bytes), () => "clean.png");
    const same = String(clean.shape) === String(right.shape);
    const gain = same ? `${decibels(psnr(spoilt, right))} → ${decibels(psnr(clean, right))} dB · ` : "";
    view.show(urlOf(spoilt), urlOf(clean), clean.shape[2] <= SMALL, `${gain}${Math.round(took)} ms`);
  }
}

const decibels = (value) => (Number.isFinite(value) ? value.toFixed(1) : "∞");
