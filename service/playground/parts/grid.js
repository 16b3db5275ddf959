// A grid of pictures: a place for each at once, one Tab stop, arrow keys within.

import { h } from "../dom.js";

/** Tiles that show pictures as they come. */
export class Grid {
  /**
   * @param {string} label
   * @param {(i: number) => void} onchoose
   */
  constructor(label, onchoose) {
    this.onchoose = onchoose;
    this.element = h("div.grid", { role: "group", "aria-label": label, onkeydown: (event) => this.#move(event) });
    /** @type {HTMLElement[]} */
    this.tiles = [];
    this.chosen = -1;
  }

  /** Begin anew with a place for each label. */
  begin(/** @type {string[]} */ labels) {
    this.chosen = -1;
    this.tiles = labels.map((label, i) =>
      h("button.tile", { type: "button", "aria-label": label, "aria-pressed": "false", tabindex: i ? -1 : 0, title: label, onclick: () => this.choose(i) }, h("img", { alt: "", hidden: true }), h("span.meter", { "aria-hidden": "true" })),
    );
    this.element.replaceChildren(...this.tiles);
    this.element.dataset.few = String(labels.length <= 12);
  }

  /**
   * @param {number} i
   * @param {string} url
   * @param {number} share of its way that it has gone: 1 is the end
   */
  show(i, url, share = 1) {
    const [image, meter] = this.tiles[i].children;
    image.src = url;
    image.hidden = false;
    meter.style.inlineSize = `${100 * share}%`;
    this.tiles[i].dataset.done = String(share >= 1);
  }

  choose(/** @type {number} */ i) {
    this.chosen = i;
    for (const [k, tile] of this.tiles.entries()) {
      tile.setAttribute("aria-pressed", String(k === i));
      tile.tabIndex = k === i ? 0 : -1;
    }
    this.onchoose(i);
  }

  #move(event) {
    const at = this.tiles.indexOf(document.activeElement);
    const columns = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (at < 0 || !step) return;
    event.preventDefault();
    const next = this.tiles[at + step];
    if (!next) return;
    for (const tile of this.tiles) tile.tabIndex = tile === next ? 0 : -1;
    next.focus();
  }
}
