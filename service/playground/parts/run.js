// One piece of work at a time: it shows that it goes on and for how long, can be stopped, and tells of failures.

import { h } from "../dom.js";
import { asProblem } from "../problem.js";
import { hideNotice, showProblem } from "./notice.js";

const PATIENCE_MS = 300;

/** The work of one panel. Its `bar` is a line to be put into the page. */
export class Run {
  constructor() {
    this.text = h("span", {}, "Ready.");
    this.stopButton = h("button.plain.small", { type: "button", onclick: () => this.stop() }, "Stop");
    this.bar = h("div.status", {}, h("span.pulse", { "aria-hidden": "true" }), h("span", { role: "status" }, this.text), this.stopButton);
    this.bar.dataset.busy = "false";
    this.stopButton.disabled = true;
    /** @type {AbortController | null} */
    this.controller = null;
    this.timer = 0;
  }

  /** Say something; it stays until the next piece of work. */
  say(/** @type {string} */ text) {
    if (this.text.textContent !== text) this.text.textContent = text;
  }

  stop() {
    this.controller?.abort();
  }

  /**
   * Do a piece of work; whatever was going on is stopped.
   * @param {string} doing for people: "Drawing"
   * @param {(signal: AbortSignal) => Promise<string | void>} work returns what to say at its end
   * @param {() => void} [again] to try it again; by default the same work
   */
  async start(doing, work, again = () => this.start(doing, work)) {
    this.stop();
    hideNotice();
    const controller = (this.controller = new AbortController());
    const begin = performance.now();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.#tick(doing, begin), 100);
    this.bar.dataset.busy = "true";
    this.stopButton.disabled = false;
    try {
      const said = await work(controller.signal);
      if (this.controller === controller) this.say(said ?? "");
    } catch (error) {
      if (this.controller !== controller) return;
      this.say(controller.signal.aborted ? "Stopped." : "");
      if (!controller.signal.aborted) showProblem(asProblem(error), again);
    } finally {
      if (this.controller === controller) this.#end();
    }
  }

  #tick(doing, begin) {
    const passed = performance.now() - begin;
    if (passed > PATIENCE_MS) this.say(`${doing} … ${Math.floor(passed / 1000)} s`);
  }

  #end() {
    clearInterval(this.timer);
    this.controller = null;
    this.bar.dataset.busy = "false";
    this.stopButton.disabled = true;
  }
}
