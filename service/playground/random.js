// Random numbers that a seed decides, in every browser alike.

/** A generator of numbers in [0, 1): mulberry32. */
export function uniform(/** @type {number} */ seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Numbers of mean 0 and variance 1 (Box and Muller 1958).
 * @param {number} seed
 * @param {number} count
 */
export function normal(seed, count) {
  const next = uniform(seed);
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
}

/** A seed to begin with. */
export const anySeed = () => Math.floor(Math.random() * 1_000_000);
