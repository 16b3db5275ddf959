// A walk between two pictures: what the model draws on the arc from one seed's noise to the other's.

import { sendForJson } from "../api.js";
import { fresh, h } from "../dom.js";
import { wayOf } from "../models.js";
import { number } from "../parts/fields.js";
import { Run } from "../parts/run.js";

const STEPS = 16;

/**
 * @param {any} draw the panel; gets walkFrom and walkTo
 * @returns {HTMLElement | ""}
 */
export function walk(draw) {
  draw.walkFrom = draw.walkTo = null;
  if (wayOf(draw.current) === "next_token") return "";
  const bounds = { min: 0, max: Number.MAX_SAFE_INTEGER };
  const from = number(draw.state, "from", "From seed", { ...bounds, value: 1 });
  const to = number(draw.state, "to", "To seed", { ...bounds, value: 2 });
  const run = new Run();
  const frames = new Frames();
  let kind = "";
  const start = () => {
    const json = { ...draw.wishes(kind), seeds: [from.value(), to.value()], n: STEPS };
    draw.bench.code.show({ path: "v1/images/generations", json, accept: "image/png", save: "walk.png" });
    return run.start("Walking", async (signal) => {
      const answer = await sendForJson({ path: "v1/images/generations", json }, signal);
      frames.show(answer.data.map((item) => `data:image/png;base64,${item.b64_json}`));
      return `${STEPS} pictures on the way${json.prompt ? `, all of class ${json.prompt}` : ""}`;
    });
  };
  const section = h(
    "details.section",
    {},
    h("summary", {}, "Between two pictures"),
    h("div.row.bottom", {}, from.element, to.element, h("button.plain", { type: "button", onclick: start }, "Walk")),
    run.bar,
    frames.element,
  );
  const set = (field) => (picture) => {
    field.set(picture.seed);
    if (field === from) kind = picture.class; // what is on the way is of one class: that of its begin
    section.open = true;
    if (field === to) start();
  };
  draw.walkFrom = set(from);
  draw.walkTo = set(to);
  return section;
}

/** A strip of pictures with a slider through it. */
class Frames {
  constructor() {
    this.urls = [];
    const id = fresh("walk");
    this.image = h("img.plate", { alt: "", hidden: true });
    this.input = h("input", { id, type: "range", min: 0, max: STEPS - 1, value: 0, disabled: true, oninput: () => this.#look() });
    this.strip = h("div.strip", { "aria-hidden": "true" });
    this.element = h("div.frames", {}, h("div.plate.empty", {}, this.image), h("div", {}, this.strip, h("label.hidden", { for: id }, "Place on the way"), this.input));
  }

  show(urls) {
    this.urls = urls;
    this.strip.replaceChildren(...urls.map((src) => h("img", { src, alt: "" })));
    this.input.disabled = false;
    this.#look();
  }

  #look() {
    const at = Number(this.input.value);
    this.image.src = this.urls[at];
    this.image.alt = `Picture ${at + 1} of ${this.urls.length} on the way`;
    this.image.hidden = false;
  }
}
