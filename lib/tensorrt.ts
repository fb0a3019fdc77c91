/** What is particular to engines of backend "tensorrt": plans are compiled when they are built, for steps of bounded sizes. */
import { homedir } from "node:os";
import { join } from "node:path";
import { ArgumentError, EngineDirectoryError } from "./errors.js";
import type { DType } from "./model-config.js";

export const tensorrtName = "tensorrt";

/** As many as the plugins' kernels take. */
const mostRanks = 8;

/** What the manifest keeps of how the plans were built. A plan runs with the same TensorRT and on the same kind of GPU. */
export interface TensorRtFacts {
  /** Of TensorRT. */
  version: string;
  /** Of the GPU. */
  gpu: string;
  /** 90: 9.0. */
  computeCapability: number;
  /** Version of Kraken's plugins. */
  plugins: string;
  /** Bounds of a step, which loading can only lower. */
  maxStepTokens: number;
  maxBatchSize: number;
  maxRows: number;
  maxSequenceLength: number;
  kvBlockTokens: number;
  /** Of each rank's plan. */
  pluginLayers: number[];
}

/** @throws ArgumentError ERR_OPTION, ERR_RANKS */
export function checkBuild({ dtype, ranks }: { dtype: DType | undefined; ranks: number }): void {
  if (dtype === "int8") {
    throw new ArgumentError(
      "ERR_OPTION",
      '`dtype` "int8" is for backend "cpu"; a tensorrt engine is "bfloat16", "float16" or "float32"',
    );
  }
  if (ranks > mostRanks) {
    throw new ArgumentError(
      "ERR_RANKS",
      `\`ranks\` is ${ranks}, but backend "tensorrt" runs on at most ${mostRanks} GPUs`,
    );
  }
}

/** @throws EngineDirectoryError ERR_ENGINE_CORRUPT when the manifest lacks them */
export function factsOf(directory: string, facts: TensorRtFacts | undefined): TensorRtFacts {
  const sizes = [facts?.maxStepTokens, facts?.maxBatchSize, facts?.maxSequenceLength];
  if (facts && sizes.every((size) => Number.isInteger(size) && size! > 0)) return facts;
  throw new EngineDirectoryError(
    "ERR_ENGINE_CORRUPT",
    `${directory} says nothing of its TensorRT plans: build the engine again`,
  );
}

/** @throws ArgumentError ERR_OPTION when a size exceeds what the engine was built for */
export function checkSizes(
  directory: string,
  facts: TensorRtFacts,
  sizes: Partial<Record<"maxStepTokens" | "maxBatchSize" | "maxSequenceLength", number>>,
): void {
  for (const [name, value] of Object.entries(sizes) as [keyof typeof sizes, number][]) {
    if (value <= facts[name]) continue;
    const flag = name === "maxSequenceLength" ? "maxPositions" : name;
    throw new ArgumentError(
      "ERR_OPTION",
      `\`${name}\` is ${value}, but ${directory} was built for at most ${facts[name]}: lower it, or build again with \`${flag}\` ${value}`,
    );
  }
}

/** Where TensorRT's timings of kernels are kept between builds. */
export function timingsDirectory(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "kraken-engine", "timings");
}
