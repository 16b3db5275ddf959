// Elements without a framework.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element: `h("button.primary", {type: "button", onclick: draw}, "Draw")`.
 * @param {string} selector a tag with classes
 * @param {Record<string, any>} [attributes] those named on… are listeners; null and false are left out
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement & Record<string, any>}
 */
export function h(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  return /** @type {any} */ (filled(document.createElement(tag), classes, attributes, children));
}

/**
 * An element of SVG.
 * @param {string} selector
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {SVGElement}
 */
export function svg(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  return /** @type {any} */ (filled(element, classes, attributes, children));
}

function filled(element, classes, attributes, children) {
  if (classes.length) element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let numbered = 0;

/** An id that no other element has. */
export const fresh = (/** @type {string} */ prefix) => `${prefix}-${++numbered}`;

/**
 * Offer a file for download.
 * @param {string} name
 * @param {Blob} blob
 */
export function download(name, blob) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
