// What a panel is set to, kept in the address: #draw?model=mnist-gan&seed=7 can be sent to somebody.

/** @returns {{panel: string, params: URLSearchParams}} */
export function readHash() {
  const [panel, query] = location.hash.slice(1).split("?");
  return { panel, params: new URLSearchParams(query) };
}

/** The settings of one panel. */
export class State {
  /**
   * @param {string} panel
   * @param {URLSearchParams} [params]
   */
  constructor(panel, params = new URLSearchParams()) {
    this.panel = panel;
    this.params = params;
  }

  /**
   * @param {string} name
   * @param {string} fallback
   */
  get(name, fallback = "") {
    return this.params.get(name) ?? fallback;
  }

  /** Set, and write it into the address. */
  set(/** @type {string} */ name, /** @type {string | number | boolean} */ value) {
    this.params.set(name, String(value));
    this.write();
  }

  write() {
    const query = this.params.toString();
    history.replaceState(null, "", `#${this.panel}${query && "?"}${query}`);
  }
}
