// Scores as a table, as charts beside those of normal items, and the reasons for one of them.

import { h } from "../dom.js";
import { columnBars, surpriseMap, tokenColours } from "../parts/explain.js";
import { pValueChart, scoreChart } from "../parts/histogram.js";
import { urlOf } from "../pictures.js";

/** What is shown of an answer. */
export class ScoreView {
  /** @param {number} alpha p-values up to it are flagged */
  constructor(alpha) {
    this.alpha = alpha;
    this.charts = h("div.charts");
    this.table = h("div.scroll.scores", { tabindex: "0", role: "region", "aria-label": "Scores" }, h("p.muted", {}, "Scores appear here."));
    this.why = h("section.why", { "aria-label": "Why", "aria-live": "polite" });
    this.element = h("div.scored", {}, this.charts, h("div.halves", {}, this.table, this.why));
  }

  /**
   * @param {import("./score-items.js").Item[]} items
   * @param {any} answer
   * @param {any} calibration quantiles, or null
   * @param {number} usual surprise that is not to be shown
   */
  show(items, answer, calibration, usual) {
    Object.assign(this, { items, answer, calibration, usual });
    /** The most unusual first. */
    this.order = answer.data.map((_, i) => i).sort((a, b) => answer.data[a].score - answer.data[b].score);
    this.#fill();
    this.choose(this.order[0]);
  }

  /** Flag p-values up to alpha. */
  flag(/** @type {number} */ alpha) {
    this.alpha = alpha;
    if (!this.answer) return;
    this.#fill();
    this.choose(this.chosen);
  }

  /** Show why an item is as usual as it is. */
  choose(/** @type {number} */ i) {
    this.chosen = i;
    for (const [k, row] of this.rows.entries()) row.querySelector("button").setAttribute("aria-pressed", String(this.order[k] === i));
    this.#draw();
    this.why.replaceChildren(h("h3", {}, this.items[i].name), ...this.#reasons(this.items[i], this.answer.data[i]));
  }

  #fill() {
    this.rows = this.order.map((i) => this.#row(this.items[i], this.answer.data[i], i));
    const head = ["Item", "p-value", "Score", ""].map((name, i) => h(i === 1 || i === 2 ? "th.number" : "th", { scope: "col" }, name || h("span.hidden", {}, "Flag")));
    this.table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, this.rows)));
  }

  #flagged(item) {
    return item.p_value !== null && item.p_value <= this.alpha;
  }

  #row(given, item, i) {
    const image = given.picture && h("img.plate", { src: urlOf(given.picture), alt: "" });
    const button = h("button.item", { type: "button", "aria-pressed": "false", onclick: () => this.choose(i) }, image, h("span", {}, given.name));
    const p = item.p_value === null ? "–" : item.p_value < 0.001 ? item.p_value.toExponential(0) : item.p_value.toFixed(3);
    return h("tr", {}, h("td", {}, button), h("td.number", {}, p), h("td.number", {}, String(Number(item.score.toPrecision(4)))), h("td", {}, this.#flagged(item) && h("span.flag", {}, "unusual")));
  }

  #draw() {
    const { data, statistic } = this.answer;
    const quantiles = this.calibration?.quantiles[statistic];
    const items = data.map((item) => ({ score: item.score, flagged: this.#flagged(item) }));
    const figures = [];
    if (quantiles) figures.push(figure(`Beside ${this.calibration.size.toLocaleString("en")} normal items`, scoreChart({ levels: this.calibration.levels, quantiles }, items, this.chosen)));
    if (quantiles) figures.push(figure("p-values", pValueChart(data.map((item) => item.p_value), this.alpha)));
    this.charts.replaceChildren(...figures);
  }

  #reasons(given, item) {
    const facts = [
      item.log_prob !== null && `log-probability ${item.log_prob.toFixed(1)} nats`,
      item.bits_per_dim !== null && `${item.bits_per_dim.toFixed(2)} bits per value`,
      item.perplexity && `perplexity ${item.perplexity.toFixed(1)}`,
    ].filter(Boolean);
    const parts = [h("p.fine.muted", {}, facts.join(" · "))];
    if (!item.surprise) parts.push(h("p.muted", {}, "This model does not say where the surprise lies."));
    else if (given.picture) parts.push(surpriseMap(given.picture, item.surprise, this.usual));
    else if (given.text !== undefined) parts.push(tokenColours(item.surprise));
    else parts.push(columnBars(item.surprise));
    if (item.p_values) parts.push(statistics(item.p_values));
    return parts;
  }
}

const figure = (caption, chart) => h("figure", {}, h("figcaption", {}, caption), chart);

function statistics(values) {
  const rows = Object.entries(values).map(([name, p]) => h("tr", {}, h("th", { scope: "row" }, name), h("td.number", {}, p < 0.001 ? p.toExponential(0) : p.toFixed(3))));
  return h("details.quiet-details", {}, h("summary", {}, "p-value by each statistic"), h("table.plainly", {}, h("tbody", {}, rows)));
}
