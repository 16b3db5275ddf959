// Labelled controls that keep their values in a panel's state.

import { fresh, h } from "../dom.js";
import { anySeed } from "../random.js";

/** @typedef {import("../state.js").State} State */

/**
 * @typedef {object} Field
 * @property {HTMLElement} element
 * @property {() => any} value
 * @property {(value: any) => void} set
 */

const nothing = () => {};

/**
 * A choice of several. Options are values, or [value, text].
 * @param {State} state
 * @param {string} name
 * @param {string} label
 * @param {(string | [string, string])[]} options
 * @param {{value?: string, onchange?: () => void, hint?: string}} [more]
 * @returns {Field}
 */
export function choice(state, name, label, options, { value = "", onchange = nothing, hint = "" } = {}) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  const known = pairs.map(([option]) => option);
  const wanted = state.get(name, value);
  const input = h("select", { onchange: () => (state.set(name, input.value), onchange()) });
  input.append(...pairs.map(([option, text]) => h("option", { value: option }, text)));
  input.value = known.includes(wanted) ? wanted : known.includes(value) ? value : (known[0] ?? "");
  return field(label, input, () => input.value, (v) => ((input.value = v), state.set(name, v)), hint);
}

/**
 * A number on a scale.
 * @param {State} state
 * @param {string} name
 * @param {string} label
 * @param {{min: number, max: number, step?: number, value: number, onchange?: () => void, show?: (v: number) => string, hint?: string}} scale
 * @returns {Field}
 */
export function slider(state, name, label, { min, max, step = 1, value, onchange = nothing, show = String, hint = "" }) {
  const output = h("output");
  const input = h("input", { type: "range", min, max, step, value: within(state.get(name), min, max, value) });
  const tell = () => (output.textContent = show(Number(input.value)));
  input.addEventListener("input", () => (tell(), state.set(name, input.value), onchange()));
  tell();
  const set = (v) => ((input.value = v), tell(), state.set(name, input.value));
  return field(label, input, () => Number(input.value), set, hint, output);
}

/**
 * A number that is typed.
 * @param {State} state
 * @param {string} name
 * @param {string} label
 * @param {{min: number, max: number, step?: number, value: number, onchange?: () => void, hint?: string}} bounds
 * @returns {Field}
 */
export function number(state, name, label, { min, max, step = 1, value, onchange = nothing, hint = "" }) {
  const input = h("input", { type: "number", min, max, step, inputmode: "numeric", value: within(state.get(name), min, max, value) });
  const read = () => within(input.value, min, max, value);
  input.addEventListener("change", () => ((input.value = read()), state.set(name, input.value), onchange()));
  return field(label, input, read, (v) => ((input.value = v), state.set(name, v)), hint);
}

/**
 * A seed, with dice.
 * @param {State} state
 * @param {string} name
 * @param {() => void} [onchange]
 * @param {string} [label]
 * @returns {Field}
 */
export function seed(state, name, onchange = nothing, label = "Seed") {
  const made = number(state, name, label, { min: 0, max: Number.MAX_SAFE_INTEGER, value: 1, onchange });
  const dice = h("button.plain.square", { type: "button", "aria-label": `Another ${label.toLowerCase()}`, title: "Another", onclick: () => (made.set(anySeed()), onchange()) }, "⚄");
  const input = made.element.querySelector("input");
  const row = h("span.joined");
  input.replaceWith(row);
  row.append(input, dice);
  return made;
}

/**
 * Yes or no.
 * @param {State} state
 * @param {string} name
 * @param {string} label
 * @param {{value?: boolean, onchange?: () => void}} [more]
 * @returns {Field}
 */
export function toggle(state, name, label, { value = false, onchange = nothing } = {}) {
  const input = h("input", { type: "checkbox", checked: state.get(name, String(value)) === "true" });
  input.addEventListener("change", () => (state.set(name, input.checked), onchange()));
  return { element: h("label.check", {}, input, h("span", {}, label)), value: () => input.checked, set: (v) => ((input.checked = v), state.set(name, v)) };
}

/**
 * A text of one line or several.
 * @param {State} state
 * @param {string} name
 * @param {string} label
 * @param {{value?: string, rows?: number, wrap?: "soft" | "off", hint?: string, placeholder?: string, onchange?: () => void}} [more]
 * @returns {Field}
 */
export function text(state, name, label, { value = "", rows = 1, wrap = "soft", hint = "", placeholder = "", onchange = nothing } = {}) {
  const input = rows > 1 ? h("textarea", { rows, wrap, spellcheck: "false", placeholder }) : h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder });
  input.value = state.get(name, value);
  input.addEventListener("input", () => (state.set(name, input.value), onchange()));
  return field(label, input, () => input.value, (v) => ((input.value = v), state.set(name, v)), hint);
}

function field(label, input, value, set, hint = "", output = null) {
  const id = fresh("field");
  input.id = id;
  const note = hint && h("small", { id: `${id}-hint` }, hint);
  if (note) input.setAttribute("aria-describedby", note.id);
  const head = h("span.label", {}, h("label", { for: id }, label), output);
  output?.setAttribute("for", id);
  return { element: h("div.field", {}, head, input, note), value, set };
}

/** A number out of a text; `fallback` where it is none, and never out of bounds. */
function within(text, min, max, fallback) {
  const found = text === "" || text === null ? NaN : Number(text);
  return Math.min(max, Math.max(min, Number.isFinite(found) ? found : fallback));
}

/**
 * Any number of several.
 * @param {State} state
 * @param {string} name
 * @param {string} label
 * @param {[string, string][]} options values and what stands beside them
 * @param {{value?: string[], onchange?: () => void}} [more] value: those that are chosen at first
 * @returns {Field}
 */
export function several(state, name, label, options, { value = [], onchange = nothing } = {}) {
  const wanted = state.get(name) ? state.get(name).split(",") : value;
  const boxes = options.map(([option, hint]) => {
    const input = h("input", { type: "checkbox", value: option, checked: wanted.includes(option) });
    input.addEventListener("change", () => (state.set(name, chosen().join(",")), onchange()));
    return { input, element: h("label.check", {}, input, h("span", {}, option, hint && h("small", {}, hint))) };
  });
  const chosen = () => boxes.filter(({ input }) => input.checked).map(({ input }) => input.value);
  const element = h("fieldset.field", {}, h("legend", {}, label), boxes.map((box) => box.element));
  return { element, value: chosen, set: (v) => boxes.forEach(({ input }) => (input.checked = v.includes(input.value))) };
}
