/** The options of Engine.load(), validated and filled in for the executor. */
import type { EngineManifest } from "./engine-directory.js";
import { ArgumentError } from "./errors.js";
import { checkRanks, type Hosts, parseHosts } from "./hosts.js";
import { parseLink } from "./link.js";
import { ledMpiWorld, type MpiWorld } from "./mpi.js";
import type { NativeExecutorOptions } from "./native.js";
import { booleanOption, checkKeys, integerOption, optionError, signalOption } from "./options.js";
import { checkSizes, factsOf, tensorrtName } from "./tensorrt.js";

/** Node's own test runner has the same names for the same choice. */
export type Isolation = "none" | "process";

/** How `Engine.load()` sizes and runs an engine. All have defaults. */
export interface LoadOptions {
  /** Sequences that run at the same time; more requests wait. Default 8. */
  maxBatchSize?: number | undefined;
  /** Most tokens of prompt and output together. Default: the model's positions. */
  maxSequenceLength?: number | undefined;
  /** Most tokens of a step. Default: chosen by the engine. */
  maxStepTokens?: number | undefined;
  /** Most prompt tokens of a step in which others decode: smaller keeps their pace, larger starts sooner. */
  prefillChunk?: number | undefined;
  /** Key/value memory, in tokens over all sequences. Default: enough for maxBatchSize full sequences. */
  kvCacheTokens?: number | undefined;
  /**
   * Requests start from the keys and values that others with the same beginning left in memory, whole blocks of them;
   * results stay the same. false: every prompt is computed in full, as benchmarks want. Default true.
   */
  prefixReuse?: boolean | undefined;
  /** Requests that may wait; beyond that ERR_QUEUE_FULL. Default 1024. */
  maxQueue?: number | undefined;
  /** Compute threads of each rank. Default: cores / ranks. */
  threadsPerRank?: number | undefined;
  /** Measure each kind of op (stats().profileMs), and exchanges between GPUs. Default false. */
  profile?: boolean | undefined;
  /** Check every file's SHA-256 before loading; false checks sizes only. Default true. */
  verify?: boolean | undefined;
  /** The backend the engine must have been built for. Default: whichever it is. */
  backend?: string | undefined;
  /** Must be "none" to load an engine that was built without collectives, whose numbers are wrong. */
  communication?: "none" | undefined;
  /**
   * Delays what ranks exchange as a slower link between them would: "10Gbit,20us" (each rank's, full duplex). For
   * benchmarks: one machine shows what a network would. Default "none".
   */
  link?: string | undefined;
  /**
   * Where the ranks run. "none": as threads of this process. "process": as threads of a process of its own,
   * kraken-worker, so that whatever ends it rejects this engine's requests with ERR_RANK_LOST and leaves this process
   * alone. Default "none"; of backends "tensorrt" and "tensorrt-llm" always "process".
   */
  isolation?: Isolation | undefined;
  /** Told the command that starts the ranks, for a backend whose ranks are processes (tensorrt-llm). */
  onLaunch?: ((command: string) => void) | undefined;
  /** Ranks that share a GPU (backend "tensorrt"): for tests on fewer GPUs than ranks. Default 1. */
  ranksPerDevice?: number | undefined;
  /**
   * Ranks that have a process each, here or elsewhere: hosts and how many ranks each has, as in "a:1,b:1" or
   * ["a:1", "b:1"]; all here: "localhost:2". The first is this machine, by the name or address at which the others reach
   * it, and rank 0 runs where `isolation` says. Each other rank is a kraken-worker, found at the same path there as here,
   * like the engine (`kraken build --push`). Default: ranks are threads, all here.
   */
  hosts?: string | readonly string[] | undefined;
  /**
   * Starts a command on a host: it gets HOST COMMAND…, and passes standard input on. Words with spaces between, or a list.
   * Default: ssh.
   */
  launchAgent?: string | readonly string[] | undefined;
  /**
   * What all ranks know and nobody else, at least 16 characters. Default: KRAKEN_SECRET, else a random one that each rank
   * gets through standard input when it is started.
   */
  secret?: string | undefined;
  /** Seconds for ranks on other hosts to start and connect. Default 20. */
  startTimeout?: number | undefined;
  /** How sums travel between hosts. Default: float32 for a float32 engine, else bfloat16. */
  exchangeDtype?: "float32" | "bfloat16" | undefined;
  /** Aborting rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

const known: readonly (keyof LoadOptions)[] = [
  "maxBatchSize",
  "maxSequenceLength",
  "maxStepTokens",
  "prefillChunk",
  "kvCacheTokens",
  "prefixReuse",
  "maxQueue",
  "threadsPerRank",
  "profile",
  "verify",
  "backend",
  "communication",
  "link",
  "isolation",
  "onLaunch",
  "ranksPerDevice",
  "hosts",
  "launchAgent",
  "secret",
  "startTimeout",
  "exchangeDtype",
  "signal",
];

export interface ResolvedLoad {
  verify: boolean;
  backend: string | undefined;
  hosts: Hosts | undefined;
  signal: AbortSignal | undefined;
  onLaunch: ((command: string) => void) | undefined;
}

/** What can be checked before the engine directory is read. @throws ArgumentError ERR_OPTION */
export function resolveLoad(options: LoadOptions): ResolvedLoad {
  checkKeys("Engine.load", options, known);
  if (options.backend !== undefined && typeof options.backend !== "string") {
    throw optionError("backend", "a backend's name", options.backend);
  }
  if (options.communication !== undefined && options.communication !== "none") {
    throw optionError("communication", '"none", or left out', options.communication);
  }
  if (options.isolation !== undefined && options.isolation !== "none" && options.isolation !== "process") {
    throw optionError("isolation", '"none" or "process"', options.isolation);
  }
  if (options.onLaunch !== undefined && typeof options.onLaunch !== "function") {
    throw optionError("onLaunch", "a function", options.onLaunch);
  }
  parseLink(options.link);
  const hosts = parseHosts(options);
  if (parseLink(options.link) !== undefined && hosts) {
    throw new ArgumentError("ERR_OPTION", "`link` emulates what `hosts` have between them: give one of them");
  }
  const { exchangeDtype } = options;
  if (exchangeDtype !== undefined && exchangeDtype !== "float32" && exchangeDtype !== "bfloat16") {
    throw optionError("exchangeDtype", '"float32" or "bfloat16"', exchangeDtype);
  }
  return {
    verify: booleanOption("verify", options.verify, true),
    backend: options.backend,
    hosts,
    signal: signalOption(options.signal),
    onLaunch: options.onLaunch,
  };
}

/** @throws ArgumentError ERR_OPTION for what TensorRT-LLM has no counterpart of, or more than the engine was built for */
function checkTrtLlm({ build_config: built }: EngineManifest, options: LoadOptions): void {
  for (const name of ["link", "threadsPerRank", "prefillChunk", "profile"] as const) {
    if (options[name] === undefined || options[name] === false || options[name] === "none") continue;
    throw new ArgumentError(
      "ERR_OPTION",
      `\`${name}\` has no counterpart with backend "tensorrt-llm": leave it out`,
    );
  }
  if (options.isolation === "none") {
    throw new ArgumentError(
      "ERR_OPTION",
      '`isolation`: ranks of backend "tensorrt-llm" always have processes of their own; leave it out',
    );
  }
  const limits = [
    ["maxBatchSize", built?.max_batch_size],
    ["maxStepTokens", built?.max_num_tokens],
    ["maxSequenceLength", built?.max_seq_len],
  ] as const;
  for (const [name, most] of limits) {
    const wanted = options[name];
    if (typeof wanted !== "number" || most === undefined || wanted <= most) continue;
    throw optionError(name, `at most the ${most} that the engine was built for`, wanted);
  }
  const step = options.maxStepTokens;
  if (typeof step === "number" && built?.plugin_config.context_fmha === false && step < built.max_input_len) {
    throw optionError(
      "maxStepTokens",
      `at least ${built.max_input_len}, its longest prompt: a float32 engine computes one in one step`,
      step,
    );
  }
}

/** A GPU's driver and TensorRT may end their process. */
function checkForGpu({ isolation, link, exchangeDtype }: LoadOptions): void {
  if (isolation === "none") {
    throw new ArgumentError(
      "ERR_OPTION",
      '`isolation` cannot be "none" for backend "tensorrt": its ranks always run in kraken-worker',
    );
  }
  if (parseLink(link)) {
    throw new ArgumentError("ERR_OPTION", '`link` emulates links between the ranks of backend "cpu" alone');
  }
  if (exchangeDtype !== undefined) {
    throw new ArgumentError(
      "ERR_OPTION",
      '`exchangeDtype` is for backend "cpu": between GPUs, sums travel in the type of the engine',
    );
  }
}

/**
 * The ranks that mpirun or srun started, for an engine of several.
 * @throws ArgumentError ERR_OPTION, ERR_RANKS
 */
export function mpiRanks(
  directory: string,
  { ranks, backend }: EngineManifest,
  { hosts, isolation, link }: LoadOptions,
): MpiWorld | undefined {
  const world = ledMpiWorld();
  if (!world) return undefined;
  if (hosts !== undefined) {
    throw new ArgumentError(
      "ERR_OPTION",
      "`hosts` and mpirun (or srun) both say where ranks run: leave one of them out",
    );
  }
  if (ranks === 1) return undefined;
  if (backend !== "cpu") {
    throw new ArgumentError(
      "ERR_OPTION",
      `under mpirun or srun ranks are of backend "cpu", ${directory} is for "${backend}": start one process, without it`,
    );
  }
  if (isolation === "none" || parseLink(link)) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`${isolation === "none" ? "isolation" : "link"}\`: under mpirun or srun ranks are processes; leave it out`,
    );
  }
  if (ranks !== world.hosts.length) {
    throw new ArgumentError(
      "ERR_RANKS",
      `${world.hosts.length} processes were started, but ${directory} has ${ranks} ranks: start ${ranks}, or build with ` +
        `--ranks ${world.hosts.length}`,
    );
  }
  return world;
}

/**
 * The executor's options. Zero leaves a choice to it.
 * @throws ArgumentError ERR_OPTION, ERR_CONTEXT_LENGTH (more positions than the model has)
 */
export function executorOptions(
  directory: string,
  manifest: EngineManifest,
  options: LoadOptions,
): NativeExecutorOptions {
  const { hosts, verify } = resolveLoad(options);
  const { config, backend, ranks, dtype } = manifest;
  if (hosts && backend !== "cpu" && backend !== tensorrtName) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`hosts\` is for backends "cpu" and "${tensorrtName}", ${directory} is for "${backend}"`,
    );
  }
  if (hosts) checkRanks(hosts, ranks, directory);
  const mpi = mpiRanks(directory, manifest, options);
  const trtllm = backend === "tensorrt-llm";
  if (trtllm) checkTrtLlm(manifest, options);
  const facts = backend === tensorrtName ? factsOf(directory, manifest.tensorrt) : undefined;
  const communication = manifest.communication !== "none";
  if (!communication && options.communication !== "none") {
    throw new ArgumentError(
      "ERR_OPTION",
      `${directory} was built with communication: "none": its ranks don't exchange anything and its output is wrong. ` +
        'Only benchmarks want it; load it with communication: "none" if you do',
    );
  }
  if (communication && options.communication === "none") {
    throw new ArgumentError(
      "ERR_OPTION",
      `${directory} was built with communication; build another with "none"`,
    );
  }
  const length = integerOption("maxSequenceLength", options.maxSequenceLength, {
    min: 1,
    fallback: facts?.maxSequenceLength ?? manifest.build_config?.max_seq_len ?? config.maxPositions,
  });
  if (length > config.maxPositions) {
    throw new ArgumentError(
      "ERR_CONTEXT_LENGTH",
      `\`maxSequenceLength\` is ${length}, but the model has ${config.maxPositions} positions`,
    );
  }
  const link = parseLink(options.link);
  const chosen = { min: 1, fallback: 0 };
  const maxBatchSize = integerOption("maxBatchSize", options.maxBatchSize, {
    min: 1,
    max: 4096,
    fallback: Math.min(8, facts?.maxBatchSize ?? manifest.build_config?.max_batch_size ?? 8),
  });
  const maxStepTokens = integerOption("maxStepTokens", options.maxStepTokens, {
    min: 1,
    max: 1 << 20,
    fallback: facts?.maxStepTokens ?? 0,
  });
  const ranksPerDevice = integerOption("ranksPerDevice", options.ranksPerDevice, {
    min: 1,
    max: 1024,
    fallback: 1,
  });
  if (facts) {
    checkSizes(directory, facts, { maxStepTokens, maxBatchSize, maxSequenceLength: length });
    checkForGpu(options);
  } else if (options.ranksPerDevice !== undefined) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`ranksPerDevice\` is for engines of backend "tensorrt"; ${directory} is for "${backend}"`,
    );
  }
  return {
    directory,
    config,
    backend,
    ranks,
    dtype,
    communication,
    linkBytesPerSecond: link?.bytesPerSecond ?? 0,
    linkLatencySeconds: link?.latencySeconds ?? 0,
    threadsPerRank: integerOption("threadsPerRank", options.threadsPerRank, { ...chosen, max: 1024 }),
    maxBatchSize,
    maxSequenceLength: length,
    maxStepTokens,
    prefillChunk: integerOption("prefillChunk", options.prefillChunk, { ...chosen, max: 1 << 20 }),
    maxQueue: integerOption("maxQueue", options.maxQueue, { min: 0, max: 1 << 20, fallback: 1024 }),
    kvCacheTokens: integerOption("kvCacheTokens", options.kvCacheTokens, chosen),
    prefixReuse: booleanOption("prefixReuse", options.prefixReuse, true),
    profile: booleanOption("profile", options.profile, false),
    isolation: facts || trtllm || mpi ? "process" : (options.isolation ?? "none"),
    ranksPerDevice,
    ...(mpi && { attach: mpi.rendezvous }),
    backendConfig: facts ? JSON.stringify(facts) : "",
    hosts: hosts?.byRank ?? [],
    launchAgent: hosts?.launchAgent ?? [],
    secret: hosts?.secret ?? "",
    startSeconds: hosts?.startSeconds ?? 0,
    exchangeDtype: options.exchangeDtype ?? (dtype === "float32" ? "float32" : "bfloat16"),
    verify,
  };
}
