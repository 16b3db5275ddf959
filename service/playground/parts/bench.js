// The same order in every panel: controls beside the stage; under them the request as code, and the model's card.

import { h } from "../dom.js";
import { CodeBox } from "./codebox.js";
import { showCard } from "./card.js";
import { Run } from "./run.js";

/** What a panel is made of. */
export class Bench {
  /**
   * @param {HTMLElement} root
   * @param {string} title
   * @param {string} lede
   */
  constructor(root, title, lede) {
    this.run = new Run();
    this.controls = h("form.controls", { onsubmit: (event) => event.preventDefault(), "aria-label": `${title}: settings` });
    this.stage = h("div.stage");
    this.code = new CodeBox();
    this.card = h("article.card", { "aria-label": "The model's card" });
    this.cardChoice = h("div.segments", { hidden: true });
    root.replaceChildren(
      h("header.lede", {}, h("h2", {}, title), h("p", {}, lede)),
      h("div.bench", {}, this.controls, h("div.work", {}, this.run.bar, this.stage)),
      h("div.below", {}, this.code.element, h("div.cards", {}, this.cardChoice, this.card)),
    );
  }

  /** Show the card of a model; of several, the one that is chosen. */
  showCard(/** @type {string[]} */ ...ids) {
    const choose = (id) => {
      for (const button of this.cardChoice.children) button.setAttribute("aria-pressed", String(button.textContent === id));
      showCard(this.card, id);
    };
    this.cardChoice.hidden = ids.length < 2;
    this.cardChoice.replaceChildren(...ids.map((id) => h("button", { type: "button", onclick: () => choose(id) }, id)));
    if (ids.length) choose(ids.includes(this.card.dataset.model) ? this.card.dataset.model : ids[0]);
  }

  /** A panel for which the service has no model. */
  static nothing(/** @type {HTMLElement} */ root, /** @type {string} */ title, /** @type {string} */ what) {
    root.replaceChildren(
      h("header.lede", {}, h("h2", {}, title), h("p", {}, `None of the models here can ${what}. `, h("a", { href: "../docs" }, "The API"), " says which models can do what.")),
    );
  }
}
