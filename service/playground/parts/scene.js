// A picture to begin with where no photograph is at hand: hills under a low sun, drawn here.

import { fromImageData } from "../pictures.js";
import { h } from "../dom.js";

const SIDE = 256;

/** @returns {import("../pictures.js").Picture} */
export function scene() {
  const context = h("canvas", { width: SIDE, height: SIDE }).getContext("2d", { willReadFrequently: true });
  const sky = context.createLinearGradient(0, 0, 0, SIDE);
  sky.addColorStop(0, "#4a4a4a");
  sky.addColorStop(0.62, "#dcdcdc");
  context.fillStyle = sky;
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = "#f8f8f8";
  context.beginPath();
  context.arc(178, 112, 26, 0, 2 * Math.PI);
  context.fill();
  const ridges = [[150, 22, 0.021, "#9a9a9a"], [176, 18, 0.034, "#6f6f6f"], [206, 14, 0.047, "#3d3d3d"]];
  for (const [height, swing, pace, colour] of ridges) ridge(context, height, swing, pace, colour);
  for (let x = 14; x < SIDE; x += 21) tree(context, x, 222 + 9 * Math.sin(x), 26 + 10 * Math.cos(3 * x));
  return fromImageData(context.getImageData(0, 0, SIDE, SIDE), "hills.png");
}

function ridge(context, height, swing, pace, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(0, SIDE);
  for (let x = 0; x <= SIDE; x += 2) context.lineTo(x, height + swing * Math.sin(pace * x + height) + 0.3 * swing * Math.sin(2.7 * pace * x));
  context.lineTo(SIDE, SIDE);
  context.fill();
}

function tree(context, x, y, height) {
  context.fillStyle = "#161616";
  context.fillRect(x - 1, y - 4, 2, 14);
  for (let k = 0; k < 4; k++) {
    context.beginPath();
    context.moveTo(x, y - height + k * 6);
    context.lineTo(x - 3 - 2 * k, y - height + 12 + k * 6);
    context.lineTo(x + 3 + 2 * k, y - height + 12 + k * 6);
    context.fill();
  }
}
