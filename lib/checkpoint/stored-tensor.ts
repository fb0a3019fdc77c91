/**
 * Tensors as a file stores them, under the file's own names, and the views that canonical names are made of.
 * A view changes shape, strides and offset only; no element is ever moved.
 */

/** Like FileTensor, but of any dtype: optimizer state and masks may be anything, and are no error until wanted. */
export interface StoredTensor {
  /** Absolute path. */
  file: string;
  /** Byte offset of the first element. */
  offset: number;
  /** "float32", "int64", …; for what the engine cannot read, the name the file uses. */
  dtype: string;
  /** Bytes of an element. */
  elementBytes: number;
  shape: number[];
  /** In elements, one per dimension, non-negative. */
  strides: number[];
}

/** By the file's own name. */
export type StoredTensors = Map<string, StoredTensor>;

/** Row-major strides of a shape, in elements. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let extent = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = extent;
    extent *= shape[i]!;
  }
  return strides;
}

/** Elements of a shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** [a, b] → [b, a] */
export function transpose(t: StoredTensor): StoredTensor {
  return { ...t, shape: [...t.shape].reverse(), strides: [...t.strides].reverse() };
}

/** `size` entries of a dimension, from `begin`. */
export function narrow(t: StoredTensor, dimension: number, begin: number, size: number): StoredTensor {
  const shape = [...t.shape];
  shape[dimension] = size;
  return { ...t, offset: t.offset + begin * t.strides[dimension]! * t.elementBytes, shape };
}

/** Entry `index` of a dimension; the dimension goes. */
export function select(t: StoredTensor, dimension: number, index: number): StoredTensor {
  const at = narrow(t, dimension, index, 1);
  return { ...at, shape: at.shape.toSpliced(dimension, 1), strides: at.strides.toSpliced(dimension, 1) };
}

/** One dimension as several, e.g. [h·hd, d] → [h, hd, d]. The product of `sizes` is the dimension's size. */
export function unflatten(t: StoredTensor, dimension: number, sizes: readonly number[]): StoredTensor {
  const inner = contiguousStrides(sizes).map((stride) => stride * t.strides[dimension]!);
  return {
    ...t,
    shape: t.shape.toSpliced(dimension, 1, ...sizes),
    strides: t.strides.toSpliced(dimension, 1, ...inner),
  };
}

/** Whether two tensors are the same bytes, read in the same order: how a state dict shows tied weights. */
export function sameBytes(a: StoredTensor, b: StoredTensor): boolean {
  return (
    a.file === b.file &&
    a.offset === b.offset &&
    a.dtype === b.dtype &&
    a.shape.join() === b.shape.join() &&
    a.strides.join() === b.strides.join()
  );
}
