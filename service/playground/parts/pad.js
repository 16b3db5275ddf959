// A field with a dot on it that is moved in two directions, by pointer or by arrow keys.

import { h } from "../dom.js";

/**
 * @param {string} label
 * @param {number} reach of both directions: -reach … reach
 * @param {(place: [number, number]) => void} onmove
 */
export function pad(label, reach, onmove) {
  const dot = h("span.dot");
  const element = h("div.pad", { role: "slider", tabindex: "0", "aria-label": `${label}: move with the arrow keys`, "aria-valuemin": -reach, "aria-valuemax": reach, "aria-valuenow": 0 }, dot);
  let place = [0, 0];
  const show = () => {
    dot.style.insetInlineStart = `${50 + (50 * place[0]) / reach}%`;
    dot.style.insetBlockStart = `${50 - (50 * place[1]) / reach}%`;
    element.setAttribute("aria-valuenow", place[0].toFixed(2));
    element.setAttribute("aria-valuetext", `${place[0].toFixed(1)} across, ${place[1].toFixed(1)} up`);
  };
  const within = (v) => Math.min(reach, Math.max(-reach, v));
  const move = (x, y) => {
    place = [within(x), within(y)];
    show();
    onmove(/** @type {[number, number]} */ (place));
  };
  const follow = (event) => {
    const box = element.getBoundingClientRect();
    move(((event.clientX - box.left) / box.width - 0.5) * 2 * reach, (0.5 - (event.clientY - box.top) / box.height) * 2 * reach);
  };
  element.addEventListener("pointerdown", (event) => (element.setPointerCapture(event.pointerId), follow(event)));
  element.addEventListener("pointermove", (event) => element.hasPointerCapture(event.pointerId) && follow(event));
  element.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(place[0] + (step[0] * reach) / 15, place[1] + (step[1] * reach) / 15);
  });
  show();
  return { element, set: ([x, y]) => ((place = [within(x), within(y)]), show()) };
}
