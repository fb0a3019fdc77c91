/** Elements of a CheckpointIndex's tensors, read plainly: what native code must agree with. */
import { readFileSync } from "node:fs";
import type {
  CheckpointIndex,
  FileTensor,
  RandomTensor,
  TensorView,
} from "../../lib/checkpoint/checkpoint-index.js";
import type { ReadTensor } from "../../lib/reference.js";

/** Reads canonical tensors of a checkpoint, each once. */
export function tensorReader({ tensors }: Pick<CheckpointIndex, "tensors">): ReadTensor {
  const read = new Map<string, Float64Array>();
  const files = new Map<string, Buffer>();
  const contents = (file: string) => {
    if (!files.has(file)) files.set(file, readFileSync(file));
    return files.get(file)!;
  };
  return (name) => {
    const view = tensors[name];
    if (!view) throw new Error(`the checkpoint has no ${name}`);
    if (!read.has(name)) read.set(name, elementsOf(name, view, contents));
    return read.get(name)!;
  };
}

/** All elements of a view in row-major order. */
export function elementsOf(
  name: string,
  view: TensorView,
  contents: (file: string) => Buffer = readFileSync,
): Float64Array {
  const count = view.shape.reduce((product, size) => product * size, 1);
  if (view.source === "constant") return new Float64Array(count).fill(view.value);
  if (view.source === "random") return randomElements(name, view, count);
  return fileElements(view, count, contents(view.file));
}

function fileElements(
  { offset, dtype, shape, strides }: FileTensor,
  count: number,
  bytes: Buffer,
): Float64Array {
  const elements = new Float64Array(count);
  const index = shape.map(() => 0);
  for (let i = 0; i < count; i++) {
    const element = index.reduce((sum, at, dimension) => sum + at * strides[dimension]!, 0);
    elements[i] =
      dtype === "float32"
        ? bytes.readFloatLE(offset + 4 * element)
        : (dtype === "float16" ? fromFloat16 : fromBfloat16)(bytes.readUInt16LE(offset + 2 * element));
    for (
      let dimension = shape.length - 1;
      dimension >= 0 && ++index[dimension]! === shape[dimension];
      dimension--
    ) {
      index[dimension] = 0;
    }
  }
  return elements;
}

export function fromBfloat16(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
}

export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

const golden = 0x9e3779b97f4a7c15n;
const wrap = (value: bigint) => BigInt.asUintN(64, value);

/** FNV-1a of a name's UTF-8 bytes, 64 bits. */
function fnv1a(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text, "utf8")) hash = wrap((hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

/** splitmix64's finaliser. */
function mix(z: bigint): bigint {
  z = wrap((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

/** √((65536² − 1) / 3): the deviation of the sum of four 16-bit uniforms. */
const deviation = 37837.2271;

/** Element i: the i-th splitmix64 of a key made of name and seed, as a sum of four uniforms, rounded to float32. */
function randomElements(
  name: string,
  { seed, std, name: streamName }: RandomTensor,
  count: number,
): Float64Array {
  const key = fnv1a(streamName ?? name) ^ wrap(BigInt(seed) * golden);
  return Float64Array.from({ length: count }, (_, i) => {
    const z = mix(wrap(key + BigInt(i + 1) * golden));
    const sum = [0n, 16n, 32n, 48n].reduce((total, shift) => total + Number((z >> shift) & 0xffffn), 0);
    return Math.fround((std * (sum - 131070)) / deviation);
  });
}
