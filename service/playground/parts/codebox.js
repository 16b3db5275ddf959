// The last request as curl and as Python, to be copied; and the files that it needs.

import { curl, python } from "../code.js";
import { download, h } from "../dom.js";

const LANGUAGES = { curl, Python: python };

/** A box that shows requests as code. */
export class CodeBox {
  constructor() {
    this.language = "curl";
    /** @type {import("../api.js").Ask[]} */
    this.asks = [];
    this.text = h("code");
    this.files = h("p.fine.files");
    this.buttons = Object.keys(LANGUAGES).map((name) =>
      h("button", { type: "button", "aria-pressed": String(name === this.language), onclick: () => this.#choose(name) }, name),
    );
    this.copyButton = h("button.plain.small", { type: "button", onclick: () => this.#copy() }, "Copy");
    this.element = h(
      "section.code",
      { "aria-label": "The same request as code" },
      h("header", {}, h("h3", {}, "The same as code"), h("div.segments", {}, this.buttons), this.copyButton),
      h("pre", { tabindex: "0", "aria-label": "Code" }, this.text),
      this.files,
    );
  }

  /** Show requests, one after the other. */
  show(/** @type {import("../api.js").Ask[]} */ ...asks) {
    this.asks = asks;
    this.text.textContent = asks.map(LANGUAGES[this.language]).join("\n\n");
    const needed = asks.flatMap((ask) => [...(ask.files ?? []), ...(ask.body ? [ask.body] : [])]);
    const own = new Map(needed.filter(({ blob }) => blob).map(({ file, blob }) => [file, blob]));
    const links = [...own].slice(0, 12).map(([file, blob]) => h("button.link", { type: "button", onclick: () => download(file, blob) }, file));
    this.files.replaceChildren(...(links.length ? ["Its files: ", ...links.flatMap((link) => [link, " "])] : []));
  }

  #choose(name) {
    this.language = name;
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.textContent === name));
    this.show(...this.asks);
  }

  async #copy() {
    const done = await copied(this.text.textContent);
    this.copyButton.textContent = done ? "Copied" : "Select and copy";
    if (!done) getSelection().selectAllChildren(this.text);
    setTimeout(() => (this.copyButton.textContent = "Copy"), 1500);
  }
}

/** The clipboard is closed to pages that came over plain HTTP from another machine. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
