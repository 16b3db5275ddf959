// Points on a plane: one is chosen with the mouse, or with the arrow keys, which go to the nearest in their direction.

import { fresh, h, svg } from "../dom.js";

const SIDE = 600;
const MARGIN = 22;
const SHAPES = 10;

/** A scatter plot whose points are options of a list. */
export class Plot {
  /** @param {(i: number) => void} onchoose */
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.id = fresh("point");
    this.chosen = -1;
    this.labels = [];
    this.points = [];
    this.canvas = svg("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, "aria-hidden": "true", onclick: (event) => this.#click(event) });
    this.frame = h("div.field-of-points", { tabindex: "0", role: "slider", "aria-label": "Map of pictures. Arrow keys go from point to point.", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0, "aria-valuetext": "no point is chosen", onkeydown: (event) => this.#key(event) }, this.canvas);
    this.legend = h("p.legend.fine");
    this.element = h("div.plot", {}, this.frame, this.legend);
  }

  /**
   * @param {Float32Array} places (n, 2)
   * @param {string[]} groups
   * @param {string[]} labels
   */
  show(places, groups, labels) {
    this.labels = labels;
    this.points = scaled(places);
    this.chosen = -1;
    const names = [...new Set(groups)].sort();
    const marks = this.points.map(([x, y], i) => mark(x, y, groups[i], names.indexOf(groups[i])));
    this.ring = svg("circle.ring", { r: 11, visibility: "hidden" });
    this.canvas.replaceChildren(...marks, this.ring);
    this.frame.setAttribute("aria-valuemax", String(labels.length));
    this.frame.setAttribute("aria-valuetext", `${labels.length} points, none is chosen`);
    this.legend.replaceChildren(...(names.length > 1 ? ["Classes: ", ...names.flatMap((name, k) => [h("span.key", { "data-group": name === "yours" ? "own" : k % SHAPES }, name), " "])] : []));
  }

  choose(/** @type {number} */ i) {
    if (!this.points[i]) return;
    this.chosen = i;
    const [x, y] = this.points[i];
    this.ring.setAttribute("cx", x);
    this.ring.setAttribute("cy", y);
    this.ring.setAttribute("visibility", "visible");
    this.frame.setAttribute("aria-valuenow", String(i + 1));
    this.frame.setAttribute("aria-valuetext", this.labels[i]);
    this.onchoose(i);
  }

  #click(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    const [distance, i] = closest(this.points, at);
    if (distance < 30) this.choose(i);
  }

  #key(event) {
    const direction = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!direction && event.key !== "Home") return;
    event.preventDefault();
    if (this.chosen < 0 || event.key === "Home") return this.choose(closest(this.points, [SIDE / 2, SIDE / 2])[1]);
    this.choose(next(this.points, this.chosen, direction));
  }
}

/** A digit is its own mark; whatever has a longer name is a dot. */
function mark(x, y, group, number) {
  const kind = group === "yours" ? "own" : number % SHAPES;
  if (group.length <= 2) return svg("text.point", { x, y: y + 5, "text-anchor": "middle", "data-group": kind }, group);
  return svg("circle.point", { cx: x, cy: y, r: group === "yours" ? 7 : 4, "data-group": kind });
}

function scaled(places) {
  const n = places.length / 2;
  const side = (k) => Array.from({ length: n }, (_, i) => places[2 * i + k]);
  const [xs, ys] = [side(0), side(1)];
  const fit = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (v) => MARGIN + ((SIDE - 2 * MARGIN) * (v - low)) / (high - low || 1);
  };
  const [x, y] = [fit(xs), fit(ys)];
  return xs.map((v, i) => [x(v), SIDE - y(ys[i])]);
}

function closest(points, [x, y]) {
  const distances = points.map(([px, py], i) => [Math.hypot(px - x, py - y), i]);
  return distances.sort((a, b) => a[0] - b[0])[0] ?? [Infinity, -1];
}

/** The nearest point that lies more in the direction than aside; the same where there is none. */
function next(points, from, [dx, dy]) {
  const [x, y] = points[from];
  const ahead = points
    .map(([px, py], i) => ({ i, forward: (px - x) * dx + (py - y) * dy, aside: Math.abs((px - x) * dy) + Math.abs((py - y) * dx) }))
    .filter(({ i, forward, aside }) => i !== from && forward > 0 && aside <= forward);
  return ahead.sort((a, b) => a.forward + 2 * a.aside - b.forward - 2 * b.aside)[0]?.i ?? from;
}
