// Drawing a digit: with mouse, finger or pen, or with the arrow keys and space.

import { h } from "../dom.js";
import { fromImageData } from "../pictures.js";

const SIDE = 280;
const PEN = 22;
const STEP = 14;
const INNER = 200 / 280;

/**
 * Open a dialog to draw in.
 * @returns {Promise<import("../pictures.js").Picture | null>} white on black, placed as handwritten digits are; null where nothing was drawn
 */
export function sketch() {
  const canvas = h("canvas", { width: SIDE, height: SIDE, tabindex: "0", role: "application", "aria-roledescription": "drawing area", "aria-label": "Drawing area. Arrow keys move the pen, space puts it down or lifts it, Delete clears." });
  const pen = new Pen(/** @type {any} */ (canvas));
  const dialog = h(
    "dialog.sketch",
    { "aria-label": "Draw a digit" },
    h("div.plate", {}, canvas, pen.cursor),
    h("p.fine.muted", {}, "Draw with the mouse or a finger; or move with the arrow keys, and press space to put the pen down."),
    h(
      "form.row.end",
      { method: "dialog" },
      h("button.plain", { type: "button", onclick: () => pen.clear() }, "Clear"),
      h("button.plain", { value: "" }, "Cancel"),
      h("button.primary", { value: "use" }, "Use it"),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  canvas.focus();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "use" && pen.marked ? placed(canvas) : null);
    }),
  );
}

class Pen {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.cursor = h("span.dot", { "aria-hidden": "true", hidden: true });
    this.clear();
    this.at = [SIDE / 2, SIDE / 2];
    this.down = false;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.at = this.#place(event);
      this.#lineTo(this.at);
    });
    canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && this.#lineTo(this.#place(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  clear() {
    this.marked = false;
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, SIDE, SIDE);
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  #lineTo(to) {
    Object.assign(this.context, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
    this.context.beginPath();
    this.context.moveTo(this.at[0], this.at[1]);
    this.context.lineTo(to[0], to[1] + 0.01);
    this.context.stroke();
    this.at = to;
    this.marked = true;
  }

  #key(event) {
    const step = { ArrowRight: [STEP, 0], ArrowLeft: [-STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!step && event.key !== " " && event.key !== "Delete") return;
    event.preventDefault();
    if (event.key === "Delete") this.clear();
    if (event.key === " ") this.down = !this.down;
    const to = step ? this.at.map((v, i) => Math.min(SIDE - PEN, Math.max(PEN, v + step[i]))) : this.at;
    if (this.down && event.key !== "Delete") this.#lineTo(to);
    this.at = to;
    this.cursor.hidden = false;
    this.cursor.dataset.down = String(this.down);
    this.cursor.style.insetInlineStart = `${(100 * to[0]) / SIDE}%`;
    this.cursor.style.insetBlockStart = `${(100 * to[1]) / SIDE}%`;
  }
}

/** Fitted into the inner 20 of 28 parts and centred by its mass: so were the digits that models of them have seen. */
function placed(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, SIDE, SIDE);
  const box = { left: SIDE, right: 0, top: SIDE, bottom: 0 };
  let [mass, x, y] = [0, 0, 0];
  for (let i = 0; i < SIDE * SIDE; i++) {
    const v = data[4 * i];
    if (!v) continue;
    const [column, row] = [i % SIDE, Math.floor(i / SIDE)];
    box.left = Math.min(box.left, column);
    box.right = Math.max(box.right, column + 1);
    box.top = Math.min(box.top, row);
    box.bottom = Math.max(box.bottom, row + 1);
    [mass, x, y] = [mass + v, x + v * column, y + v * row];
  }
  const scale = (INNER * SIDE) / Math.max(box.right - box.left, box.bottom - box.top, INNER * SIDE * 0.5);
  const out = h("canvas", { width: SIDE, height: SIDE }).getContext("2d", { willReadFrequently: true });
  out.fillRect(0, 0, SIDE, SIDE);
  out.imageSmoothingQuality = "high";
  out.translate(SIDE / 2 - (scale * x) / mass, SIDE / 2 - (scale * y) / mass);
  out.scale(scale, scale);
  out.drawImage(canvas, 0, 0);
  return fromImageData(out.getImageData(0, 0, SIDE, SIDE), "drawing.png");
}
