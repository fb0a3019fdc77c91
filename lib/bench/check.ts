/**
 * Correctness before speed: a variant's sizes, ranks, threads and dtype at small depth, with random weights that
 * exercise norms, biases and scores, against the forward pass in float64 (lib/reference.ts).
 * What is checked and what is timed differ in depth, vocabulary and weights; very wide models lose heads, too.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildEngine } from "../build.js";
import { canonicalShapes } from "../checkpoint/canonical.js";
import type { CheckpointIndex, RandomTensor, TensorView } from "../checkpoint/checkpoint-index.js";
import { Engine } from "../engine.js";
import type { LoadOptions } from "../engine-options.js";
import { withIoErrors } from "../io-error.js";
import { type DType, type ModelConfig, parameterCount } from "../model-config.js";
import { randomModel } from "../presets.js";
import { referenceLogits } from "../reference.js";
import { randomNumbers } from "../report/statistics.js";
import type { Variant } from "./grid.js";

/** Of ‖Δ‖ / ‖reference‖ over all logits: the bounds that docs/architecture.md promises. */
export const tolerances: Record<DType, number> = {
  float32: 1e-5,
  bfloat16: 2e-2,
  float16: 2e-2,
  int8: 4e-2,
};

export interface Check {
  layers: number;
  hiddenSize: number;
  tokens: number;
  relativeError: number;
  tolerance: number;
}

const tokens = 16;
const vocabSize = 512;
/** More would take seconds of float64 arithmetic in JavaScript. */
const mostParameters = 80e6;

/** The same with fewer heads: 1/divisor of the width. undefined where that is not whole. */
function narrowed(config: ModelConfig, divisor: number, ranks: number): ModelConfig | undefined {
  const shares = [config.heads, config.kvHeads, config.hiddenSize].map((size) => size / divisor);
  const [heads, kvHeads, hiddenSize] = shares as [number, number, number];
  const split = config.architecture === "kraken" ? 1 : ranks;
  if (!shares.every(Number.isInteger) || kvHeads % split !== 0) return undefined;
  return { ...config, heads, kvHeads, hiddenSize, ffnSize: Math.ceil(config.ffnSize / divisor) };
}

/** Two layers, as the first of a Kraken exchanges nothing. */
export function checkedConfig(config: ModelConfig, ranks: number): ModelConfig {
  const shallow = {
    ...config,
    layers: Math.min(2, config.layers),
    vocabSize: Math.min(vocabSize, config.vocabSize),
    maxPositions: Math.min(tokens, config.maxPositions),
  };
  let best: ModelConfig = shallow;
  for (let divisor = 2; parameterCount(best) > mostParameters && divisor <= config.kvHeads; divisor++) {
    best = narrowed(shallow, divisor, ranks) ?? best;
  }
  return best;
}

/** A model whose weights lie in a file and in memory. */
interface Written {
  checkpoint: CheckpointIndex;
  read(name: string): Float64Array;
}

/** Uniform numbers of a given deviation. */
function randomValues(count: number, std: number, seed: number): Float32Array {
  const random = randomNumbers(seed);
  const width = std * Math.sqrt(12);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = width * (random() - 0.5);
  return values;
}

async function writeModel(config: ModelConfig, file: string): Promise<Written> {
  const model = randomModel(config, { weights: "varied" });
  const arrays = new Map<string, Float32Array>();
  const tensors: Record<string, TensorView> = {};
  let offset = 0;
  for (const [name, shape] of canonicalShapes(config)) {
    const tied = config.tiedHead && name === "head.weight" ? tensors["embed.tokens"] : undefined;
    if (tied) {
      tensors[name] = tied;
      arrays.set(name, arrays.get("embed.tokens")!);
      continue;
    }
    const size = (from: number) => shape.slice(from).reduce((product, extent) => product * extent, 1);
    const { std } = model.tensors[name] as RandomTensor;
    const array = randomValues(size(0), std, arrays.size);
    arrays.set(name, array);
    const strides = shape.map((_, i) => size(i + 1));
    tensors[name] = { source: "file", file, offset, dtype: "float32", shape, strides };
    offset += array.byteLength;
  }
  await withIoErrors(`write ${file}`, () => writeFile(file, new Set(arrays.values())));
  return { checkpoint: { ...model, tensors }, read: (name) => Float64Array.from(arrays.get(name)!) };
}

function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

export class Checker {
  readonly #root: string;
  readonly #dtype: DType;
  readonly #backend: string;
  readonly #models = new Map<string, Promise<{ checkpoint: CheckpointIndex; expected: Float64Array }>>();
  readonly #prompt = Array.from({ length: tokens }, (_, i) => (i * 37 + 5) % 251);
  readonly #places: (ranks: number) => LoadOptions;
  #engines = 0;

  /**
   * @param root an existing directory for what is written, which the caller removes
   * @param places where that many ranks run
   */
  constructor(
    root: string,
    dtype: DType,
    backend: string,
    places: (ranks: number) => LoadOptions = () => ({}),
  ) {
    this.#root = root;
    this.#dtype = dtype;
    this.#backend = backend;
    this.#places = places;
  }

  async check(
    variant: Pick<Variant, "config" | "ranks" | "threadsPerRank">,
    signal?: AbortSignal,
  ): Promise<Check> {
    const { ranks, threadsPerRank } = variant;
    const config = checkedConfig(variant.config, ranks);
    const prompt = this.#prompt.slice(0, config.maxPositions).map((id) => id % config.vocabSize);
    const { checkpoint, expected } = await this.#model(config, prompt);
    const output = join(this.#root, `check${this.#engines++}`);
    await buildEngine({ checkpoint, output, ranks, dtype: this.#dtype, backend: this.#backend, signal });
    await using engine = await Engine.load(output, {
      ...this.#places(ranks),
      threadsPerRank,
      maxBatchSize: 1,
      verify: false,
      signal,
    });
    const { data } = await engine.logits(prompt, { signal });
    return {
      layers: config.layers,
      hiddenSize: config.hiddenSize,
      tokens: prompt.length,
      relativeError: relativeError(data, expected),
      tolerance: tolerances[this.#dtype],
    };
  }

  /** One for all rank counts. */
  #model(config: ModelConfig, prompt: readonly number[]) {
    const key = JSON.stringify(config);
    const made = async () => {
      const { checkpoint, read } = await writeModel(config, join(this.#root, `model${this.#models.size}`));
      return { checkpoint, expected: referenceLogits(config, read, prompt) };
    };
    const model = this.#models.get(key) ?? made();
    this.#models.set(key, model);
    return model;
  }
}

/** Why it may not be timed; undefined if it may. */
export function failureOf({ relativeError, tolerance }: Check): string | undefined {
  if (relativeError <= tolerance) return undefined;
  return `its logits differ from the float64 reference by ${relativeError.toExponential(1)}, more than ${tolerance}`;
}
