// Score: how unusual pictures, rows of a table or texts are, and why.

import { sendForJson } from "../api.js";
import { h } from "../dom.js";
import { able, explains, fullModel } from "../models.js";
import { Bench } from "../parts/bench.js";
import { choice, slider } from "../parts/fields.js";
import { pngOf } from "../pictures.js";
import { imageItems, tableItems, textItems } from "./score-items.js";
import { ScoreView } from "./score-view.js";

/**
 * @param {HTMLElement} root
 * @param {import("../models.js").Model[]} models
 * @param {import("../state.js").State} state
 */
export function mount(root, models, state) {
  const scorers = able(models, "score");
  if (!scorers.length) return Bench.nothing(root, "Score", "score");
  const bench = new Bench(root, "Score", "A p-value is the share of normal items that are at least as unusual. Choose an item to see why.");
  const panel = new Score(bench, models, scorers, state);
  panel.chooseModel();
  return () => bench.run.stop();
}

class Score {
  constructor(bench, models, scorers, state) {
    Object.assign(this, { bench, models, scorers, state });
    const kinds = { image: "pictures", vector: "rows", text: "texts" };
    this.model = choice(state, "model", "Model", scorers.map((m) => [m.id, `${m.id} · ${kinds[m.data.kind]}`]), { onchange: () => this.chooseModel() });
    this.items = h("div.stack");
    this.statistic = h("div");
    this.alpha = slider(state, "alpha", "Flag p-values up to", { min: 0.01, max: 0.2, step: 0.01, value: 0.05, show: (v) => v.toFixed(2), onchange: () => this.view.flag(this.alpha.value()), hint: "The share of normal items that is flagged too, at most." });
    this.button = h("button.primary.wide", { type: "submit" }, "Score");
    bench.controls.addEventListener("submit", () => this.score());
    this.view = new ScoreView(this.alpha.value());
    bench.stage.append(this.view.element);
  }

  async chooseModel() {
    const model = this.scorers.find((m) => m.id === this.model.value());
    const kept = this.current?.data.kind === model.data.kind && String(this.current.data.shape) === String(model.data.shape);
    this.bench.showCard(model.id);
    this.full = null;
    await this.bench.run.start("Asking what the model can", async (signal) => {
      const full = await fullModel(model.id);
      this.calibration = full.manifest.calibration ? await sendForJson({ path: `v1/models/${model.id}/calibration` }, signal) : null;
      this.full = full;
    }, () => this.chooseModel());
    if (this.full?.id !== model.id) return;
    this.current = model;
    const statistics = this.full.manifest.scoring?.statistics ?? [];
    this.statistics = statistics.length > 1 ? choice(this.state, "statistic", "By the statistic", statistics, { value: this.full.manifest.scoring.default, onchange: () => this.score() }) : null;
    this.statistic.replaceChildren(...(this.statistics ? [this.statistics.element] : []));
    if (!kept) this.#offer(model);
    // Together, when it is known which there are: nothing jumps.
    if (!this.button.isConnected) this.bench.controls.append(this.model.element, this.items, this.statistic, this.alpha.element, this.button);
    await this.score();
  }

  /** A place for items of the kind that the model takes, with some in it. */
  #offer(model) {
    const make = { image: imageItems, vector: tableItems, text: textItems }[model.data.kind];
    this.given = make({ models: this.models, model, full: this.full, state: this.state, run: this.bench.run, changed: () => this.score() });
    this.items.replaceChildren(this.given.element);
  }

  async score() {
    if (!this.full || !this.given) return;
    return this.bench.run.start("Scoring", async (signal) => {
      const items = await this.given.read(signal);
      if (!items.length) return "Nothing to score yet.";
      const ask = await this.#ask(items);
      this.bench.code.show(ask);
      const answer = await sendForJson(ask, signal);
      const usual = this.full.manifest.calibration?.surprise ?? 0;
      this.view.show(items, answer, this.calibration, usual);
      return `${answer.data.length} scored by ${answer.statistic}`;
    }, () => this.score());
  }

  async #ask(items) {
    const settings = { model: this.current.id, alpha: this.alpha.value() };
    if (this.statistics) settings.statistic = this.statistics.value();
    if (explains(this.full)) settings.explain = true;
    if (items[0].picture) {
      const files = items.map(async ({ picture }, i) => ({ field: "image", file: `picture-${i + 1}.png`, blob: await pngOf(picture) }));
      return { path: "v1/score", fields: settings, files: await Promise.all(files) };
    }
    if (items[0].text !== undefined) return { path: "v1/score", json: { ...settings, input: items.map((item) => item.text) } };
    return { path: "v1/score", query: settings, body: { type: "text/csv", file: "rows.csv", blob: new Blob([this.given.csv()], { type: "text/csv" }) } };
  }
}
