/**
 * Loads the addon; the one place that declares its surface as types.
 * Everything that crosses is plain data; errors thrown by the addon carry a `code` (see errors.ts `fromNative`).
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TensorView } from "./checkpoint/checkpoint-index.js";
import { RuntimeError } from "./errors.js";
import type { DType, ModelConfig } from "./model-config.js";

/** What a backend can do on this machine. */
export interface NativeCapability {
  available: boolean;
  /** Why not, and what would help; empty when available. */
  reason: string;
  details: Record<string, string>;
}

export interface NativeCapabilities {
  backends: Record<string, NativeCapability>;
  /** Versions of the libraries this addon was built with, e.g. { oneDNN: "2.6.3", highway: "1.0.3" }. */
  libraries: Record<string, string>;
  cores: number;
}

export interface NativeGpuFinding {
  found: boolean;
  /** What was found, or why not and what would help. */
  text: string;
}

/** What a GPU backend would find on this machine. */
export interface NativeGpuProbe {
  /** TensorRT plugins of this build. */
  plugins: NativeGpuFinding;
  driver: NativeGpuFinding;
  tensorrt: NativeGpuFinding;
  nccl: NativeGpuFinding;
}

export interface NativeBuildOptions {
  config: ModelConfig;
  tensors: Record<string, TensorView>;
  ranks: number;
  dtype: DType;
  /** Existing directory to write rank0.engine … into. */
  directory: string;
  backend: string;
  communication: boolean;
  /** What follows is for backends that compile when they build. */
  ranksPerDevice: number;
  maxStepTokens: number;
  maxBatchSize: number;
  maxSequenceLength: number;
  /** For TensorRT-LLM: tokens of the longest prompt, and whether it wants logits of all of them. 0: not for it. */
  trtllmMaxInput: number;
  gatherContextLogits: boolean;
  /** Where the worker that compiles finds libraries first; "": where it always does. */
  libraryPath: string;
  /** Directory of timings that are kept between builds. */
  timings: string;
}

export interface NativeBuildProgress {
  /** weights: bytes written so far and in all, over all ranks. plans: the share that is compiled, of 1. */
  stage: "weights" | "plans";
  done: number;
  total: number;
}

export interface NativePlanOptions {
  config: ModelConfig;
  ranks: number;
  dtype: DType;
  backend: string;
  maxStepTokens: number;
  maxBatchSize: number;
  maxSequenceLength: number;
}

/** What one rank of an engine would hold, in bytes, and the number of ops in its Graph. */
export interface RankPlan {
  /** Of its weights in the engine directory. */
  weightBytes: number;
  /** Of the same when it runs here: more where this machine has no arithmetic for the engine's dtype and widens them. */
  loadedWeightBytes: number;
  kvBytesPerToken: number;
  /** Of maxBatchSize sequences of maxSequenceLength tokens. */
  kvCacheBytes: number;
  /** Estimated: what a step of maxStepTokens tokens holds at once. */
  activationBytes: number;
  /** What it sends and receives in, where that is not part of the activations. */
  exchangeBytes: number;
  ops: number;
}

/** What each rank needs, without writing anything. */
export interface NativePlan {
  ranks: RankPlan[];
  /** Rank counts up to 64 that this model allows. */
  validRanks: number[];
  /** One line per op of rank 0's Graph. */
  graph: string;
  /** Its ops by kind. */
  network: Record<string, number>;
}

export interface NativeExecutorOptions {
  directory: string;
  config: ModelConfig;
  backend: string;
  ranks: number;
  dtype: DType;
  communication: boolean;
  /** 0: no link is emulated. */
  linkBytesPerSecond: number;
  linkLatencySeconds: number;
  threadsPerRank: number;
  maxBatchSize: number;
  maxSequenceLength: number;
  maxStepTokens: number;
  prefillChunk: number;
  maxQueue: number;
  kvCacheTokens: number;
  prefixReuse: boolean;
  profile: boolean;
  isolation: "none" | "process";
  ranksPerDevice: number;
  /** What the manifest keeps for the backend, as JSON; "": nothing. */
  backendConfig: string;
  /** With "process": what starts the ranks, where they are no threads of the worker. */
  launch?: NativeLaunch;
  /** With "process": where rank 0 listens, of ranks that run already. */
  attach?: string;
  /** Of each rank; empty where all run here, and then the rest is not read. */
  hosts: string[];
  /** Empty: ssh. */
  launchAgent: string[];
  /** "": a random one. */
  secret: string;
  startSeconds: number;
  exchangeDtype: "float32" | "bfloat16";
  verify: boolean;
}

/** A command that starts one process for each rank, as mpirun does. */
export interface NativeLaunch {
  command: readonly string[];
  /** In addition to this process's. */
  environment: Readonly<Record<string, string>>;
  /** Until rank 0 has said hello. */
  startTimeoutMs: number;
}

/** The executable that runs engines with `isolation: "process"`. */
export interface NativeWorker {
  /** Beside the addon, or what KRAKEN_WORKER names. */
  path: string;
  /** What `path --version` must print to fit this addon. */
  version: string;
  /** Why it cannot be run; empty when it can. */
  trouble: string;
}

/** Every field given; lib/sampling.ts validates and fills defaults. */
export interface NativeSampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  seed: bigint;
  logitBias: [token: number, bias: number][];
  maxTokens: number;
  minTokens: number;
  stopTokens: number[];
  /** −1: none; k: the chosen token's log-probability and the k most likely alternatives. */
  logprobs: number;
}

export interface NativeRequest {
  kind: "generate" | "score" | "logits" | "products" | "weight-read";
  prompt: Int32Array;
  samples: number;
  /** generate only */
  sampling?: NativeSampling;
}

/** One event of one request; all events of a step (of several, while JavaScript was busy) arrive in one call. */
export interface NativeResponse {
  request: number;
  sample: number;
  /** −1 when the event carries no token. */
  token: number;
  logprob: number;
  /** Absent when there are none. */
  alternatives?: { token: number; logprob: number }[];
  /** "" while the sample goes on. */
  finish: "" | "stop" | "length" | "cancelled" | "error";
  /** finish "error" only. */
  errorCode?: string;
  errorMessage?: string;
  /**
   * score: one log-probability per prompt token (the first NaN); logits: rows × vocabulary; products, weight-read:
   * milliseconds.
   */
  values?: Float32Array;
  /** With values. */
  firstRow?: number;
  /** On a sample's first token and on its finish: milliseconds since enqueue. */
  queueMs?: number;
  firstTokenMs?: number;
  totalMs?: number;
  preemptions?: number;
  /** generate, sample 0: prompt tokens whose keys and values were reused. */
  cachedTokens?: number;
}

export interface NativeStats {
  steps: number;
  /** Computed: without those that were reused, with those computed again after a preemption. */
  promptTokens: number;
  generatedTokens: number;
  finished: number;
  cancelled: number;
  failed: number;
  preemptions: number;
  running: number;
  waiting: number;
  kvBlocks: number;
  kvBlocksUsed: number;
  /** Of those not used: blocks that hold what a later request may reuse. */
  kvBlocksCached: number;
  kvBlockTokens: number;
  /** Prompt tokens of generate requests that were looked up among what requests before them left, and found. */
  prefixQueryTokens: number;
  prefixHitTokens: number;
  stepMsTotal: number;
  /** Of each rank since load: milliseconds waited for collectives; on GPUs, too, where they are profiled. */
  exposedMs: number[];
  /** Of each rank since load: milliseconds from the start of each exchange to its arrival, hidden or not. */
  collectiveMs: number[];
  /** Of each rank since load: of these, milliseconds in which it did something else. */
  hiddenMs: number[];
  /** Exchanges each rank has waited for since load. */
  exchanges: number;
  profileMs: Record<string, number>[];
  weightBytes: number;
  kvBytes: number;
  activationBytes: number;
  /** Why the engine takes no more requests: a rank was lost. "" while it takes them. */
  closed: string;
}

export interface NativeExecutor {
  /** Queues a request and returns its id; events go to the callback given to `load`. */
  enqueue(request: NativeRequest): number;
  cancel(id: number): void;
  stats(): NativeStats;
  /** Cancels what runs; resolves when every event was delivered and all threads have ended. Idempotent. */
  shutdown(): Promise<void>;
  /** Keeps the process alive (true) while requests are pending; false lets it exit. */
  setKeepAlive(keep: boolean): void;
}

export interface NativeAddon {
  version: string;
  capabilities(): NativeCapabilities;
  worker(): NativeWorker;
  /** Opens the driver and libraries: for `kraken doctor` alone. */
  probeGpu(): NativeGpuProbe;
  plan(options: NativePlanOptions): NativePlan;
  /**
   * Writes the ranks' engine files on a thread of its own; `done` rejects soon after `cancel()`. Where the backend
   * compiles when it builds it does so in a kraken-worker, and `done` gives what the manifest keeps of it, as JSON.
   */
  build(
    options: NativeBuildOptions,
    onProgress: (progress: NativeBuildProgress) => void,
  ): { done: Promise<string>; cancel(): void };
  Executor: {
    /**
     * Maps and packs weights on threads of its own; `done` rejects soon after `cancel()`. The callback is never called
     * before `done` resolves, nor after shutdown() has. An executor that is loaded does not keep the process alive; one
     * that loads or closes does.
     */
    load(
      options: NativeExecutorOptions,
      onResponses: (responses: NativeResponse[]) => void,
    ): { done: Promise<NativeExecutor>; cancel(): void };
  };
}

let loaded: NativeAddon | undefined;

/**
 * The addon, loaded on first use: prebuilds/ first, then a local build.
 * @throws RuntimeError ERR_NATIVE_LOAD that says what to do on this machine
 */
export function native(): NativeAddon {
  if (loaded) return loaded;
  // This file is lib/native.ts in a clone and dist/native.js in the package; the addon lies at the package root.
  const root = join(dirname(fileURLToPath(import.meta.url)), "..");
  const require = createRequire(import.meta.url);
  try {
    loaded = require("node-gyp-build")(root) as NativeAddon;
    return loaded;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new RuntimeError(
      "ERR_NATIVE_LOAD",
      `the native addon could not be loaded for ${process.platform}-${process.arch}, Node ${process.version}: ${why}\n` +
        "In a clone run `npm run setup`; in an installed package run `npm rebuild kraken-engine` " +
        "(needs a C++20 compiler, cmake, ninja, oneDNN, Highway and nlohmann-json).",
      { cause },
    );
  }
}
