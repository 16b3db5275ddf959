// A picture that was chosen: what it is, and what can be done with it.

import { sendForBytes } from "../api.js";
import { download, h } from "../dom.js";

/**
 * @param {any} draw the panel
 * @param {{seed: number, class: string, wishes: any, url: string, seconds: number}} picture
 */
export function chosenPicture(draw, picture) {
  const name = `${picture.wishes.model}-${picture.seed}`;
  const words = [picture.class && `class ${picture.class}`, picture.wishes.steps && `${picture.wishes.steps} steps`, `${picture.seconds.toFixed(2)} s`];
  const button = (text, onclick) => h("button.plain.small", { type: "button", onclick }, text);
  return h(
    "div.chosen",
    {},
    h("img.plate", { src: picture.url, alt: `Drawn by ${picture.wishes.model} from seed ${picture.seed}` }),
    h(
      "div",
      {},
      h("p", {}, h("strong", {}, `Seed ${picture.seed}`), h("span.muted", {}, ` · ${words.filter(Boolean).join(" · ")}`)),
      h(
        "div.row",
        {},
        button("Use this seed", () => draw.again(picture)),
        draw.walkFrom && button("Walk from here", () => draw.walkFrom(picture)),
        draw.walkTo && button("Walk to here", () => draw.walkTo(picture)),
        button("PNG", () => save(draw, picture, "image/png", `${name}.png`)),
        button("npy", () => save(draw, picture, "application/x-npy", `${name}.npy`)),
      ),
    ),
  );
}

/** The same request again, in the format that is wanted: the same seed gives the same bits. */
function save(draw, picture, accept, file) {
  const ask = { ...draw.askFor(picture), accept, save: file };
  draw.bench.code.show(ask);
  draw.bench.run.start("Fetching", async (signal) => {
    download(file, new Blob([await sendForBytes(ask, signal)], { type: accept }));
    return `Saved ${file}`;
  });
}
