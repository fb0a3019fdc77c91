/** buildEngine(): from a checkpoint to an engine directory. */
import { copyFile, readdir, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { openSource } from "./build-source.js";
import type { CheckpointIndex, TokenizerSource } from "./checkpoint/checkpoint-index.js";
import {
  type EngineFile,
  type EngineManifest,
  type EngineTokenizer,
  formatVersion,
  manifestName,
  serializeManifest,
} from "./engine-directory.js";
import { ArgumentError, fromNative, RuntimeError } from "./errors.js";
import { sha256OfFiles } from "./file-hash.js";
import { withIoErrors } from "./io-error.js";
import { type Architecture, type DType, defaultDType, dtypes, type ModelConfig } from "./model-config.js";
import { type NativeAddon, native, type RankPlan } from "./native.js";
import { booleanOption, checkKeys, integerOption, optionError, shown, signalOption } from "./options.js";
import { checkOutput, openOutputDirectory } from "./output-directory.js";
import { type StepLimits, stepLimits } from "./step-limits.js";
import { checkBuild, type TensorRtFacts, tensorrtName, timingsDirectory } from "./tensorrt.js";
import {
  checkNotTrtLlm,
  checkTrtLlmBuild,
  type TrtLlmConfig,
  type TrtLlmLimits,
  trtllmConfig,
  trtllmLimits,
  trtllmName,
} from "./trtllm/config.js";
import { findTrtLlm } from "./trtllm/install.js";
import { joined } from "./trtllm/worker.js";
import { version } from "./version.js";

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

const known: readonly (keyof BuildOptions)[] = [
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

interface Resolved extends BuildPlan {
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

async function resolveBuild(options: BuildOptions, addon: NativeAddon): Promise<Resolved> {
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
      communication: communication as Resolved["communication"],
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

function planOf(build: Resolved): BuildPlan {
  const { checkpoint: _, communication: __, ranksPerDevice: ___, theirs: ____, ...plan } = build;
  return plan;
}

/** Writes rank0.engine … ; progress comes with the addon's pace. Returns what the backend adds to the manifest. */
async function writeRanks(
  build: Resolved,
  directory: string,
  { signal, onProgress }: BuildOptions,
  addon: NativeAddon,
): Promise<Pick<EngineManifest, "tensorrt"> & Partial<TrtLlmConfig>> {
  const { config, ranks, dtype, checkpoint, backend, ranksPerDevice, limits } = build;
  const { tensors } = checkpoint;
  const communication = build.communication !== "none";
  const weightBytes = build.perRank.reduce((sum, rank) => sum + rank.weightBytes, 0);
  // Its TensorRT, and its plugins with attention.
  const installed = build.theirs && (await findTrtLlm());
  const compiling = {
    backend,
    communication,
    ranksPerDevice,
    ...limits,
    trtllmMaxInput: build.theirs?.maxInputLength ?? 0,
    gatherContextLogits: build.theirs?.gatherContextLogits ?? false,
    libraryPath: installed ? joined(installed.libraryPath, process.env) : "",
    timings: timingsDirectory(),
  };
  signal?.throwIfAborted();
  let task: ReturnType<NativeAddon["build"]> | undefined;
  let callbackError: { error: unknown } | undefined;
  let facts = "";
  const cancel = () => task?.cancel();
  signal?.addEventListener("abort", cancel);
  try {
    task = addon.build({ config, tensors, ranks, dtype, directory, ...compiling }, (progress) => {
      if (signal?.aborted || callbackError) return;
      try {
        const { stage, done, total } = progress;
        const unit = stage === "plans" ? weightBytes : 1;
        onProgress?.({ stage, bytesDone: Math.round(done * unit), bytesTotal: total * unit });
      } catch (error) {
        callbackError = { error };
        task?.cancel();
      }
    });
    facts = await task.done;
  } catch (error) {
    signal?.throwIfAborted();
    if (callbackError) throw callbackError.error;
    throw fromNative(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
  if (callbackError) throw callbackError.error;
  if (facts === "") return {};
  const tensorrt = JSON.parse(facts) as TensorRtFacts;
  if (!build.trtllm) return { tensorrt };
  const kraken = { ...build.trtllm.kraken, plugins: tensorrt.pluginLayers[0] ?? 0 };
  return { tensorrt, ...build.trtllm, kraken, version: installed!.version };
}

function versionsOf(facts: TensorRtFacts | undefined, addon: NativeAddon): Record<string, string> {
  return facts
    ? { TensorRT: facts.version, "kraken-plugins": facts.plugins }
    : addon.capabilities().libraries;
}

async function copyTokenizer(
  source: TokenizerSource | undefined,
  directory: string,
): Promise<EngineTokenizer | null> {
  if (source?.kind !== "file") return source ?? null;
  const { file, configFile } = source;
  await withIoErrors(`copy ${file}`, () => copyFile(file, join(directory, "tokenizer.json")));
  if (configFile === undefined) return { kind: "file", file: "tokenizer.json" };
  await withIoErrors(`copy ${configFile}`, () =>
    copyFile(configFile, join(directory, "tokenizer_config.json")),
  );
  return { kind: "file", file: "tokenizer.json", configFile: "tokenizer_config.json" };
}

/** Sizes and checksums of what lies in the directory, in the order of their names. */
async function describeFiles(
  directory: string,
  { signal, onProgress }: BuildOptions,
): Promise<Record<string, EngineFile>> {
  const names = (await readdir(directory)).sort();
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
  const bytesTotal = sizes.reduce((a, b) => a + b, 0);
  let bytesDone = 0;
  let toldAt = 0;
  const onBytes = (bytes: number) => {
    bytesDone += bytes;
    if (bytesDone < bytesTotal && performance.now() - toldAt < 50) return;
    toldAt = performance.now();
    onProgress?.({ stage: "checksums", bytesDone, bytesTotal });
  };
  const files = names.map((name) => join(directory, name));
  const hashes = await sha256OfFiles(files, { signal, onBytes });
  return Object.fromEntries(names.map((name, i) => [name, { bytes: sizes[i]!, sha256: hashes[i]! }]));
}

/** For tests: buildEngine() over an addon of theirs. */
export async function buildEngineWith(
  addon: NativeAddon,
  options: BuildOptions,
): Promise<BuildPlan | BuildSummary> {
  const started = performance.now();
  checkKeys("buildEngine", options, known);
  const signal = signalOption(options.signal);
  const overwrite = booleanOption("overwrite", options.overwrite, false);
  const dryRun = booleanOption("dryRun", options.dryRun, false);
  if (options.onProgress !== undefined && typeof options.onProgress !== "function") {
    throw optionError("onProgress", "a function", options.onProgress);
  }
  if (!dryRun && (typeof options.output !== "string" || options.output === "")) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`output\` must be the directory to create, got ${shown(options.output)}`,
    );
  }
  signal?.throwIfAborted();
  const output = options.output === undefined ? undefined : resolve(options.output);
  if (output !== undefined && !dryRun) await checkOutput(output, overwrite);
  const build = await resolveBuild(options, addon);
  signal?.throwIfAborted();
  if (dryRun || output === undefined) return planOf(build);

  const directory = await openOutputDirectory(output, overwrite);
  try {
    const compiled = await writeRanks(build, directory.temporary, options, addon);
    const tokenizer = await copyTokenizer(build.checkpoint.tokenizer, directory.temporary);
    const files = await withIoErrors(`read back ${directory.temporary}`, () =>
      describeFiles(directory.temporary, options),
    );
    const { config, checkpoint } = build;
    const manifest: EngineManifest = {
      format: "kraken-engine",
      formatVersion,
      createdBy: `kraken-engine ${version}`,
      source: build.source,
      architecture: config.architecture,
      config,
      ranks: build.ranks,
      dtype: build.dtype,
      backend: build.backend,
      communication: build.communication,
      padding: {},
      versions: versionsOf(compiled.tensorrt, addon),
      tokenizer,
      eosTokenIds: checkpoint.eosTokenIds,
      ...(checkpoint.bosTokenId === undefined ? {} : { bosTokenId: checkpoint.bosTokenId }),
      ...compiled,
      files,
    };
    const text = serializeManifest(manifest);
    await withIoErrors(`write ${output}`, () => writeFile(join(directory.temporary, manifestName), text));
    signal?.throwIfAborted();
    await directory.commit();
    return {
      ...planOf(build),
      directory: output,
      bytes: Object.values(files).reduce((sum, file) => sum + file.bytes, Buffer.byteLength(text)),
      files,
      seconds: (performance.now() - started) / 1000,
    };
  } catch (error) {
    await directory.discard();
    throw error;
  }
}

/**
 * Builds an engine directory from a checkpoint, or from random weights. The directory appears whole or not at all.
 *
 *     await buildEngine({ checkpoint: "ckpt.pt", output: "engines/demo", ranks: 2, dtype: "bfloat16" });
 *
 * @throws KrakenError ERR_OPTION, ERR_RANKS (says which counts would work), ERR_CONTEXT_LENGTH; ERR_CHECKPOINT_* and
 *   ERR_CONFIG when the checkpoint cannot be used; ERR_ENGINE_PATH when the output exists; ERR_IO (disk full,
 *   permissions); ERR_BACKEND_UNAVAILABLE, ERR_BACKEND_FAILED, ERR_OUT_OF_MEMORY (of a GPU), ERR_NATIVE_LOAD (no
 *   kraken-worker to compile in); the signal's reason when aborted
 */
export function buildEngine(options: BuildOptions & { dryRun: true }): Promise<BuildPlan>;
export function buildEngine(options: BuildOptions & { dryRun?: false | undefined }): Promise<BuildSummary>;
export function buildEngine(options: BuildOptions): Promise<BuildPlan | BuildSummary>;
export async function buildEngine(options: BuildOptions): Promise<BuildPlan | BuildSummary> {
  return buildEngineWith(native(), options);
}
