/** Reads the float64 arrays of the fixtures (NumPy's .npy, format 1). */
import { readFileSync } from "node:fs";

export function readNpy(file: string): { shape: number[]; data: Float64Array } {
  const bytes = readFileSync(file);
  const headerLength = bytes.readUInt16LE(8);
  const header = bytes.toString("latin1", 10, 10 + headerLength);
  if (!header.includes("'descr': '<f8'") || !header.includes("'fortran_order': False")) {
    throw new Error(`${file}: expected row-major float64, got ${header}`);
  }
  const shape = /'shape': \(([^)]*)\)/.exec(header)![1]!.split(",").filter(Boolean).map(Number);
  const data = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
    bytes.readDoubleLE(10 + headerLength + 8 * i),
  );
  return { shape, data };
}

/** ‖a − b‖ / ‖b‖ over all elements. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length)
    throw new Error(`${actual.length} elements, expected ${expected.length}`);
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
