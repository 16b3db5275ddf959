// The page: tabs, each with a panel that is loaded when it is first looked at.

import { offerKey } from "./key.js";
import { allModels, forgetModels } from "./models.js";
import { asProblem } from "./problem.js";
import { readHash, State } from "./state.js";
import { hideNotice, showProblem } from "./parts/notice.js";

/** @type {Record<string, () => Promise<{mount: (root: HTMLElement, models: import("./models.js").Model[], state: State) => void | (() => void)}>>} */
const PANELS = {
  draw: () => import("./panels/draw.js"),
  clean: () => import("./panels/clean.js"),
  score: () => import("./panels/score.js"),
  write: () => import("./panels/write.js"),
  map: () => import("./panels/map.js"),
};
const NAMES = Object.keys(PANELS);

/** @type {Map<string, State>} */
const mounted = new Map();
/** @type {Map<string, () => void>} what stops a panel's work */
const stops = new Map();

const tab = (name) => document.getElementById(`tab-${name}`);
const panel = (name) => document.getElementById(`panel-${name}`);

async function show(name, params) {
  hideNotice();
  for (const other of NAMES) {
    const chosen = other === name;
    tab(other).setAttribute("aria-selected", String(chosen));
    tab(other).tabIndex = chosen ? 0 : -1;
    panel(other).hidden = !chosen;
  }
  scrollTo(0, 0);
  document.title = `${tab(name).textContent} · Amostra playground`;
  const before = mounted.get(name);
  if (before && !params) return before.write();
  await mount(name, params ?? new URLSearchParams());
}

async function mount(name, params) {
  const state = new State(name, params);
  mounted.set(name, state);
  state.write();
  stops.get(name)?.();
  const root = panel(name);
  root.setAttribute("aria-busy", "true");
  try {
    const [models, module] = await Promise.all([allModels(), PANELS[name]()]);
    if (mounted.get(name) !== state) return;
    stops.set(name, module.mount(root, models, state) ?? (() => {}));
  } catch (error) {
    mounted.delete(name);
    showProblem(asProblem(error), () => show(name, params));
  } finally {
    root.setAttribute("aria-busy", "false");
  }
}

function fromAddress() {
  const { panel: wanted, params } = readHash();
  const name = NAMES.includes(wanted) ? wanted : NAMES[0];
  show(name, params);
}

function moveBetweenTabs(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const at = NAMES.findIndex((name) => tab(name) === event.target);
  const next = event.key === "Home" ? 0 : event.key === "End" ? NAMES.length - 1 : step && (at + step + NAMES.length) % NAMES.length;
  if (next === undefined) return;
  event.preventDefault();
  tab(NAMES[next]).focus();
  show(NAMES[next]);
}

for (const name of NAMES) {
  tab(name).addEventListener("click", () => show(name));
  tab(name).addEventListener("keydown", moveBetweenTabs);
}
offerKey(() => {
  forgetModels();
  mounted.clear();
  fromAddress();
});
addEventListener("hashchange", fromAddress);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
fromAddress();
