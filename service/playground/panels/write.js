// Write: text as it comes, with its pace, and how surprising each token was.

import { stream } from "../api.js";
import { h } from "../dom.js";
import { able } from "../models.js";
import { Bench } from "../parts/bench.js";
import { choice, number, seed, slider, text, toggle } from "../parts/fields.js";
import { legend, percent, tokenSpan } from "../parts/tokens.js";

const LIKELY = 3;

/**
 * @param {HTMLElement} root
 * @param {import("../models.js").Model[]} models
 * @param {import("../state.js").State} state
 */
export function mount(root, models, state) {
  const writers = able(models, "complete");
  if (!writers.length) return Bench.nothing(root, "Write", "write");
  const bench = new Bench(root, "Write", "Text, token by token. Stop ends the work on the server too.");
  const panel = new Write(bench, writers, state);
  bench.showCard(panel.fields.model.value());
  return () => bench.run.stop();
}

class Write {
  constructor(bench, models, state) {
    this.bench = bench;
    this.fields = {
      model: choice(state, "model", "Model", models.map((m) => m.id), { onchange: () => bench.showCard(this.fields.model.value()) }),
      prompt: text(state, "prompt", "Prompt", { value: "ROMEO:\n", rows: 3 }),
      tokens: slider(state, "tokens", "Tokens at most", { min: 1, max: 2000, value: 300 }),
      temperature: slider(state, "temperature", "Temperature", { min: 0, max: 2, step: 0.05, value: 0.8, show: (v) => v.toFixed(2) }),
      topP: slider(state, "top_p", "Top p", { min: 0.05, max: 1, step: 0.05, value: 1, show: (v) => v.toFixed(2) }),
      topK: number(state, "top_k", "Top k", { min: 0, max: 1000, value: 0, hint: "0 is all." }),
      seed: seed(state, "seed"),
      stop: text(state, "stop", "Stop at", { hint: "Texts that end it, between commas; \\n is a new line." }),
    };
    const colours = toggle(state, "colours", "Show surprise", { value: true, onchange: () => this.#colour(colours.value()) });
    const start = h("button.primary.wide", { type: "submit" }, "Write");
    bench.controls.append(...Object.values(this.fields).map((field) => field.element), start);
    bench.controls.addEventListener("submit", () => this.write());
    this.paper = h("div.paper", { tabindex: "0", role: "region", "aria-label": "Text", "aria-live": "off" }, h("span.muted", {}, "What is written appears here."));
    this.paces = h("dl.paces");
    bench.stage.append(this.paces, this.paper, h("div.row.apart", {}, colours.element, legend()));
    this.#colour(colours.value());
    this.#tell({});
    bench.code.show(this.#ask());
    bench.controls.addEventListener("input", () => bench.code.show(this.#ask()));
    bench.controls.addEventListener("change", () => bench.code.show(this.#ask()));
  }

  #ask() {
    const { model, prompt, tokens, temperature, topP, topK, stop } = this.fields;
    const stops = stop.value().split(",").filter(Boolean).map((s) => s.replaceAll("\\n", "\n"));
    const json = {
      model: model.value(),
      prompt: prompt.value(),
      max_tokens: tokens.value(),
      temperature: temperature.value(),
      seed: this.fields.seed.value(),
      ...(topP.value() < 1 && { top_p: topP.value() }),
      ...(topK.value() > 0 && { top_k: topK.value() }),
      ...(stops.length && { stop: stops }),
      logprobs: LIKELY,
      stream: true,
    };
    return { path: "v1/completions", json };
  }

  write() {
    const ask = this.#ask();
    this.bench.code.show(ask);
    this.paper.replaceChildren(h("span.given", {}, ask.json.prompt));
    this.#tell({});
    return this.bench.run.start("Writing", (signal) => this.#follow(ask, signal), () => this.write());
  }

  async #follow(ask, signal) {
    const begin = performance.now();
    let [first, last, count, total, reason] = [0, 0, 0, 0, ""];
    let waiting = [];
    const flush = () => {
      if (!waiting.length) return;
      const low = this.paper.scrollHeight - this.paper.scrollTop - this.paper.clientHeight < 40;
      this.paper.append(...waiting);
      waiting = [];
      if (low) this.paper.scrollTop = this.paper.scrollHeight;
      this.#tell({ first: first - begin, count, seconds: (last - first) / 1000, total });
    };
    const timer = setInterval(flush, 50);
    try {
      for await (const event of stream(ask, signal)) {
        const [piece] = event.choices;
        if (!piece) continue;
        last = performance.now();
        if (!first && piece.text) first = last;
        const spans = spansOf(piece);
        waiting.push(...spans);
        count += piece.logprobs?.tokens.length ?? 0;
        total -= piece.logprobs?.token_logprobs.reduce((a, b) => a + (b ?? 0), 0) ?? 0;
        reason = piece.finish_reason ?? reason;
      }
    } finally {
      clearInterval(timer);
      flush();
    }
    return reason === "stop" ? "Ended by a stop text." : "Written.";
  }

  #tell({ first = 0, count = 0, seconds = 0, total = 0 }) {
    const pairs = [
      ["First token", first ? `${first.toFixed(0)} ms` : "–"],
      ["Tokens", count || "–"],
      ["Tokens per second", count > 1 && seconds > 0 ? Math.round((count - 1) / seconds) : "–"],
      ["Mean surprise", count ? `${(total / count).toFixed(2)} nats` : "–"],
    ];
    this.paces.replaceChildren(...pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  #colour(on) {
    this.paper.dataset.colours = String(on);
  }
}

/** The tokens of a piece; a stop text cuts some off. */
function spansOf({ text: whole, logprobs }) {
  if (!logprobs) return whole ? [tokenSpan(whole, null)] : [];
  const spans = [];
  let rest = whole;
  logprobs.tokens.forEach((token, i) => {
    const shown = rest.slice(0, token.length);
    rest = rest.slice(token.length);
    const log = logprobs.token_logprobs[i];
    if (shown) spans.push(tokenSpan(shown, log === null ? null : -log, likely(logprobs.top_logprobs[i])));
  });
  if (rest) spans.push(tokenSpan(rest, null));
  return spans;
}

const likely = (top) =>
  top ? `likeliest ${Object.entries(top).map(([token, log]) => `${JSON.stringify(token)} ${percent(Math.exp(log))}`).join(", ")}` : "";
