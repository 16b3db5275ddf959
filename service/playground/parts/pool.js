// Several pieces of work at a time, not all at once: a browser has few connections, and others want some.

/**
 * Do `work` for each item, `width` at a time, in order. The first failure ends it all.
 * @template T
 * @param {T[]} items
 * @param {number} width
 * @param {(item: T, i: number) => Promise<void>} work
 */
export async function pool(items, width, work) {
  const left = items.entries();
  const worker = async () => {
    for (const [i, item] of left) await work(item, i);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Of calls that come faster than they can be done, do the last: one at a time. */
export function latest(/** @type {() => Promise<void>} */ work) {
  let busy = false;
  let again = false;
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        await work();
      }
    } finally {
      busy = false;
    }
  };
}
