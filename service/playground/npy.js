// NumPy's .npy format, float32 only: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

/**
 * @param {Float32Array} data
 * @param {number[]} shape
 */
export function writeNpy(data, shape) {
  const tuple = `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  const header = text.padEnd(128 - 10 - 1) + "\n";
  const start = new Uint8Array(10 + header.length);
  start.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  start.set(new TextEncoder().encode(header), 10);
  return new Blob([start, data], { type: "application/x-npy" });
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {{data: Float32Array, shape: number[]}}
 */
export function readNpy(buffer) {
  const view = new DataView(buffer);
  const end = 10 + view.getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, 10, end - 10));
  if (!header.includes("'<f4'")) throw new Error(`expected float32 numbers, found ${header}`);
  const shape = [...header.match(/\(([^)]*)\)/)[1].matchAll(/\d+/g)].map(Number);
  return { data: new Float32Array(buffer.slice(end)), shape };
}
