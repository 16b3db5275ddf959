// Map: embeddings of pictures on a plane, by their two largest principal components.

import { sendForBytes } from "../api.js";
import { h } from "../dom.js";
import { able, fullModel, takes, wayOf } from "../models.js";
import { readNpy, writeNpy } from "../npy.js";
import { Bench } from "../parts/bench.js";
import { choice, seed, slider } from "../parts/fields.js";
import { Plot } from "../parts/plot.js";
import { drawersOf, source } from "../parts/source.js";
import { principalComponents } from "../pca.js";
import { fromArray, rounded, toShape, urlOf } from "../pictures.js";

const NEAR = 8;

/**
 * @param {HTMLElement} root
 * @param {import("../models.js").Model[]} models
 * @param {import("../state.js").State} state
 */
export function mount(root, models, state) {
  const embedders = able(models, "embed", "image");
  if (!embedders.length) return Bench.nothing(root, "Map", "embed pictures");
  const bench = new Bench(root, "Map", "Pictures that a model takes for alike lie close together. Choose a point to see its picture.");
  const panel = new MapPanel(bench, models, embedders, state);
  panel.begin();
  return () => bench.run.stop();
}

class MapPanel {
  constructor(bench, models, embedders, state) {
    Object.assign(this, { bench, models, embedders, state });
    this.model = choice(state, "model", "Embedded by", embedders.map((m) => m.id), { onchange: () => this.begin() });
    this.from = h("div.stack");
    this.count = slider(state, "n", "Pictures drawn", { min: 50, max: 500, step: 50, value: 200 });
    this.seed = seed(state, "seed", () => this.begin());
    /** @type {import("../pictures.js").Picture[]} */
    this.own = [];
    const place = source({ many: true, onpictures: (pictures) => this.#add(pictures) });
    bench.controls.append(this.model.element, this.from, this.count.element, this.seed.element, h("button.primary.wide", { type: "submit" }, "Draw the map"), place);
    bench.controls.addEventListener("submit", () => this.begin());
    this.plot = new Plot((i) => this.#look(i));
    this.side = h("div.neighbours", { "aria-live": "polite" }, h("p.muted.fine", {}, "Choose a point: with the mouse, or with the arrow keys on the map."));
    bench.stage.append(h("div.atlas", {}, this.plot.element, this.side));
  }

  #drawers(model) {
    const drawers = drawersOf(this.models, model.data.shape);
    this.drawer = drawers.length ? choice(this.state, "from", "Drawn by", drawers.map((m) => m.id), { onchange: () => this.begin() }) : null;
    this.from.replaceChildren(...(this.drawer ? [this.drawer.element] : []));
  }

  async begin() {
    const model = this.embedders.find((m) => m.id === this.model.value());
    this.bench.showCard(model.id);
    this.#drawers(model);
    return this.bench.run.start("Drawing pictures", async (signal) => {
      const drawn = this.drawer ? await this.#draw(signal) : { pictures: [], groups: [] };
      this.drawn = drawn;
      return this.#embed(model, signal);
    }, () => this.begin());
  }

  async #draw(signal) {
    const model = this.models.find((m) => m.id === this.drawer.value());
    const full = await fullModel(model.id);
    const n = wayOf(model) === "next_token" ? Math.min(64, this.count.value()) : this.count.value();
    this.ask = { path: "v1/images/generations", json: { model: model.id, n, seed: this.seed.value() }, accept: "application/x-npy", save: "pictures.npy" };
    const pictures = fromArray(readNpy(await sendForBytes(this.ask, signal)), (i) => `picture ${i + 1}`);
    const names = takes(full, wayOf(model), "label") ? full.manifest.data.class_names : [];
    return { pictures, groups: pictures.map((_, i) => (names.length ? names[i % names.length] : "drawn")) };
  }

  #add(pictures) {
    this.own.push(...pictures);
    const model = this.embedders.find((m) => m.id === this.model.value());
    this.bench.run.start("Embedding", (signal) => this.#embed(model, signal));
  }

  async #embed(model, signal) {
    const own = this.own.map((picture) => rounded(toShape(picture, model.data.shape)));
    this.pictures = [...this.drawn.pictures, ...own];
    if (!this.pictures.length) return "Drop pictures, or draw some.";
    const groups = [...this.drawn.groups, ...own.map(() => "yours")];
    const blob = writeNpy(joined(this.pictures.map((p) => p.data)), [this.pictures.length, ...this.pictures[0].shape]);
    const ask = { path: "v1/embeddings", query: { model: model.id }, body: { type: "application/x-npy", file: "pictures.npy", blob }, accept: "application/x-npy", save: "embeddings.npy" };
    this.bench.code.show(...(own.length || !this.ask ? [ask] : [this.ask, { ...ask, body: { ...ask.body, blob: null } }]));
    const { data, shape: [n, size] } = readNpy(await sendForBytes(ask, signal));
    Object.assign(this, { embeddings: data, size });
    const { scores, explained } = principalComponents(data, n, size, 2);
    this.plot.show(scores, groups, this.pictures.map((picture, i) => `${picture.name}, ${groups[i].length > 2 ? groups[i] : `class ${groups[i]}`}`));
    return `${n} pictures in ${size} dimensions; the map shows ${Math.round(100 * (explained[0] + explained[1]))} % of their variance`;
  }

  #look(i) {
    const near = this.#nearest(i);
    const tile = (k, words) => h("button.tile", { type: "button", title: words, "aria-label": words, onclick: () => this.plot.choose(k) }, h("img", { src: urlOf(this.pictures[k]), alt: "" }));
    this.side.replaceChildren(
      h("img.plate", { src: urlOf(this.pictures[i]), alt: this.plot.labels[i] }),
      h("p", {}, h("strong", {}, this.plot.labels[i])),
      h("p.fine.muted", {}, "Nearest in all dimensions"),
      h("div.near", {}, near.map((k) => tile(k, this.plot.labels[k]))),
    );
  }

  #nearest(i) {
    const distance = (k) => {
      let sum = 0;
      for (let j = 0; j < this.size; j++) sum += (this.embeddings[k * this.size + j] - this.embeddings[i * this.size + j]) ** 2;
      return sum;
    };
    const others = this.pictures.map((_, k) => [distance(k), k]).filter(([, k]) => k !== i);
    return others.sort((a, b) => a[0] - b[0]).slice(0, NEAR).map(([, k]) => k);
  }
}

function joined(parts) {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
