/** What buildEngine() is asked for, checked and decided before anything is written. */
import { openSource } from "./build-source.js";
import type { CheckpointIndex } from "./checkpoint/checkpoint-index.js";
import type { EngineFile, EngineManifest } from "./engine-directory.js";
import { ArgumentError, fromNative, RuntimeError } from "./errors.js";
import { type Architecture, type DType, defaultDType, dtypes, type ModelConfig } from "./model-config.js";
import type { NativeAddon, RankPlan } from "./native.js";
import { integerOption, optionError } from "./options.js";
import { type StepLimits, stepLimits } from "./step-limits.js";
import { checkBuild, tensorrtName } from "./tensorrt.js";
import {
  checkNotTrtLlm,
  checkTrtLlmBuild,
  type TrtLlmConfig,
  type TrtLlmLimits,
  trtllmConfig,
  trtllmLimits,
  trtllmName,
} from "./trtllm/config.js";

export interface BuildProgress {
  /**
   * weights: cutting and writing the ranks' files; checksums: reading them back. plans, of backend "tensorrt": compiling
   * what the ranks run, measured at a guess in bytes of their weights.
   */
  stage: "weights" | "plans" | "checksums";
  bytesDone: number;
  bytesTotal: number;
}

export interface BuildOptions {
  /** Path of a checkpoint (file or directory), or one opened already. Either this or `random`. */
  checkpoint?: string | CheckpointIndex | undefined;
  /**
   * Name of a preset to build with random weights; or a size of the paper, "paper:1.3b", which is the Kraken of that size
   * with as many ways as ranks (`architecture`: another of the four).
   */
  random?: string | undefined;
  /** Of the random weights: a non-negative integer below 2^32. Default 0. */
  seed?: number | undefined;
  /** Directory to create. Not needed for a dry run. */
  output?: string | undefined;
  /** Devices that run the engine together. Default 1. A Kraken's ranks must divide its ways. */
  ranks?: number | undefined;
  /**
   * Of weights and computation ("int8": of the matrix products alone; "float16" on a CPU: of the stored weights, which
   * float32 multiplies). Default "bfloat16", but "float16" for a checkpoint in float16 and a backend of GPUs.
   */
  dtype?: DType | undefined;
  /** Default "cpu". */
  backend?: string | undefined;
  /** Overrides what is detected. */
  architecture?: Architecture | undefined;
  /** "none" leaves the collectives out: wrong numbers, right timing. For benchmarks only. */
  communication?: "none" | undefined;
  /** Replace an engine that exists. Default false. */
  overwrite?: boolean | undefined;
  /** Longest context, if less than the model's positions (rotary positions: any). */
  maxPositions?: number | undefined;
  /**
   * Most sequences and most tokens of a step. An engine of backend "tensorrt" is compiled for them, and cannot be loaded
   * with more; of "cpu" they are for a dry run's estimate alone. Default 8, and 2048 or the context if that is shorter.
   */
  maxBatchSize?: number | undefined;
  maxStepTokens?: number | undefined;
  /** Of backend "tensorrt-llm": tokens of the longest prompt. Default: all but one of the longest sequence. */
  maxInputLength?: number | undefined;
  /** Of backend "tensorrt-llm": what score() and logits() need; prompts then take longer. Default false. */
  gatherContextLogits?: boolean | undefined;
  /** Of backend "tensorrt-llm": GPUs of each node, if ranks run on several. Default 8. */
  gpusPerNode?: number | undefined;
  /** Of backend "tensorrt": ranks that share a GPU. Default 1. */
  ranksPerDevice?: number | undefined;
  /** Aborting rejects with the signal's reason and leaves nothing behind. */
  signal?: AbortSignal | undefined;
  /** Called now and then while weights are written and files are summed. */
  onProgress?: ((progress: BuildProgress) => void) | undefined;
  /** Only plan: nothing is written. */
  dryRun?: boolean | undefined;
}

/** What an engine is, or would be. */
export interface BuildPlan {
  /** Where the model comes from, in words. */
  source: string;
  config: ModelConfig;
  ranks: number;
  dtype: DType;
  backend: string;
  /** Bounds of a step: see BuildOptions. */
  limits: StepLimits;
  /** What each rank holds. Activations and exchange buffers are estimates. */
  perRank: RankPlan[];
  /** Rank counts (up to 64) that this model could be built for. */
  validRanks: number[];
  /** One line for each op of rank 0. */
  graph: string;
  /** How many ops of each kind rank 0 has. */
  network: Record<string, number>;
  /** Of backend "tensorrt-llm": what TensorRT-LLM reads of config.json. */
  trtllm?: TrtLlmConfig;
}

export interface BuildSummary extends BuildPlan {
  directory: string;
  /** Of all files. */
  bytes: number;
  files: Record<string, EngineFile>;
  seconds: number;
}

/** What buildEngine() takes. */
export const buildOptionNames: readonly (keyof BuildOptions)[] = [
  "checkpoint",
  "random",
  "seed",
  "output",
  "ranks",
  "dtype",
  "backend",
  "architecture",
  "communication",
  "overwrite",
  "maxPositions",
  "maxBatchSize",
  "maxStepTokens",
  "maxInputLength",
  "gatherContextLogits",
  "gpusPerNode",
  "ranksPerDevice",
  "signal",
  "onProgress",
  "dryRun",
];

function choice<T extends string | undefined>(
  name: string,
  value: unknown,
  choices: readonly T[],
  fallback: T,
): T {
  if (value === undefined) return fallback;
  if (!choices.includes(value as T)) {
    throw optionError(name, choices.map((c) => JSON.stringify(c)).join(" or "), value);
  }
  return value as T;
}

/** What is to be built, all of it decided. */
export interface ResolvedBuild extends BuildPlan {
  checkpoint: CheckpointIndex;
  communication: EngineManifest["communication"];
  ranksPerDevice: number;
  theirs: TrtLlmLimits | undefined;
}

/** @throws RuntimeError ERR_BACKEND_UNAVAILABLE with the reason; ArgumentError ERR_OPTION for an unknown one */
export function checkBackendAvailable(addon: NativeAddon, backend: string): void {
  const capability = addon.capabilities().backends[backend];
  if (capability?.available) return;
  throw new RuntimeError(
    "ERR_BACKEND_UNAVAILABLE",
    `backend "${backend}" is not available: ${capability?.reason}`,
  );
}

/** @throws ArgumentError; RuntimeError; what opening the checkpoint throws */
export async function resolveBuild(options: BuildOptions, addon: NativeAddon): Promise<ResolvedBuild> {
  const ranks = integerOption("ranks", options.ranks, { min: 1, max: 1024, fallback: 1 });
  const given = choice<DType | undefined>("dtype", options.dtype, dtypes, undefined);
  const communication = choice<string>("communication", options.communication, ["none"], "overlapped");
  const backends = Object.keys(addon.capabilities().backends);
  const backend = choice("backend", options.backend, backends, "cpu");
  // A plan needs nothing of what will run it.
  if (!options.dryRun) checkBackendAvailable(addon, backend);
  const ranksPerDevice = integerOption("ranksPerDevice", options.ranksPerDevice, {
    min: 1,
    max: 1024,
    fallback: 1,
  });
  if (backend === tensorrtName) checkBuild({ dtype: given, ranks });
  if (backend === trtllmName) checkTrtLlmBuild({ dtype: given, communication: options.communication });
  if (backend !== tensorrtName && options.ranksPerDevice !== undefined) {
    throw new ArgumentError("ERR_OPTION", '`ranksPerDevice` is for backend "tensorrt"');
  }
  const checkpoint = await openSource(options);
  const { config } = checkpoint;
  const dtype = given ?? defaultDType(backend, checkpoint.dtype);
  const limits = stepLimits(options, config.maxPositions);
  const theirs = backend === trtllmName ? trtllmLimits(options, limits, dtype) : undefined;
  if (!theirs) checkNotTrtLlm(options);
  try {
    const plan = addon.plan({ config, ranks, dtype, backend, ...limits });
    const { network } = plan;
    const trtllm = theirs && trtllmConfig(config, { ranks, dtype, limits: theirs, network });
    return {
      ...(trtllm && { trtllm }),
      checkpoint,
      ranksPerDevice,
      theirs,
      limits,
      communication: communication as ResolvedBuild["communication"],
      source: checkpoint.description,
      config,
      ranks,
      dtype,
      backend,
      perRank: plan.ranks,
      validRanks: plan.validRanks,
      graph: plan.graph,
      network,
    };
  } catch (error) {
    throw fromNative(error);
  }
}

export function planOf(build: ResolvedBuild): BuildPlan {
  const { checkpoint: _, communication: __, ranksPerDevice: ___, theirs: ____, ...plan } = build;
  return plan;
}
