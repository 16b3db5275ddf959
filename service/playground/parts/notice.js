// A problem, over the page: nothing jumps, and everything stays usable.

import { h } from "../dom.js";
import { askForKey } from "../key.js";

const place = () => document.getElementById("notice");
let timer = 0;

/**
 * @param {import("../problem.js").Problem} problem
 * @param {() => void} [again] what to do to try again
 */
export function showProblem(problem, again) {
  clearInterval(timer);
  const retry = again && h("button.primary", { type: "button", onclick: () => (hideNotice(), again()) }, "Try again");
  const buttons = [
    problem.status === 401 && h("button.primary", { type: "button", onclick: () => (hideNotice(), askForKey()) }, "Enter a key"),
    problem.status !== 401 && retry,
    h("button.plain", { type: "button", onclick: hideNotice }, "Dismiss"),
  ];
  place().replaceChildren(
    h("div", {}, h("strong", {}, problem.title), h("p", {}, problem.detail), problem.request && h("p.fine", {}, `Request ${problem.request}`)),
    h("div.row", {}, buttons),
  );
  place().hidden = false;
  if (retry && problem.retryAfter) countDown(retry, problem.retryAfter);
}

export function hideNotice() {
  clearInterval(timer);
  place().hidden = true;
}

/** Keep a button shut for so many seconds. */
function countDown(button, seconds) {
  const end = performance.now() + 1000 * seconds;
  const tick = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left <= 0) clearInterval(timer);
  };
  tick();
  timer = setInterval(tick, 250);
}
