/** The options of a benchmark, validated and filled in. */
import { availableParallelism } from "node:os";
import { parseHosts } from "../hosts.js";
import { parseLink } from "../link.js";
import { type Architecture, type DType, dtypes } from "../model-config.js";
import { ledMpiWorld } from "../mpi.js";
import { checkKeys, integerOption, numberOption, optionError } from "../options.js";

export interface BenchOptions {
  /** Presets, engine directories, and sizes of the paper as in "paper:125m". Default that one. */
  models?: readonly string[] | undefined;
  /** Of the paper's sizes; default: all four. */
  architectures?: readonly Architecture[] | undefined;
  /** Default: those of the engines given, or 2. */
  ranks?: readonly number[] | undefined;
  /** Prompt lengths in tokens; default: 128 and the longest that the models have positions for. */
  context?: readonly number[] | undefined;
  /** Sequences at once. Default 1; for decoding 1, 2, 4 and 8. */
  batch?: readonly number[] | undefined;
  /** Default: those of the engines given, or bfloat16. */
  dtype?: readonly DType[] | undefined;
  /** Default "cpu". */
  backend?: string | undefined;
  /** An emulated link between the ranks, as in "10Gbit,20us"; default "none". */
  link?: string | undefined;
  /** Hosts of the ranks, this one first, as in "a:1,b:1"; default: all ranks here. See LoadOptions. */
  hosts?: string | undefined;
  /** Starts ranks on other hosts; default ssh. */
  launchAgent?: string | undefined;
  /** Compute threads of all ranks together; default: the cores, of as many hosts as there are. */
  threads?: number | undefined;
  /** Of the paper's Krakens; default: the ranks, and 2 on one rank. */
  ways?: number | undefined;
  /** Of the paper's sizes, the share of layers that is kept; default 1. */
  layersFraction?: number | undefined;
  /** Rounds of a cell at least; default 10. */
  repeat?: number | undefined;
  /** Rounds of a cell at most; default 100. */
  maxRepeat?: number | undefined;
  /** Seconds of measuring a cell at most (not before `repeat` rounds); default 120. */
  maxSeconds?: number | undefined;
  /** A cell is done when every 95 % interval is narrower than this, relative to its middle; default 0.05. */
  interval?: number | undefined;
  /** Rounds before those that count, beside the cold one; default 2. */
  warmup?: number | undefined;
  /** Of weights, prompts and the order of each round; default 0. */
  seed?: number | undefined;
  /** With more than 1 decoding is timed too. Default 1; for decoding 32. */
  outputTokens?: number | undefined;
}

/** What is timed: the time to first token, or the pace of decoding. */
export type Phase = "prefill" | "decode";

/** A list that is left out is chosen for each comparison. */
export interface Settings {
  models: readonly string[];
  architectures: readonly Architecture[];
  ranks: readonly number[] | null;
  context: readonly number[] | null;
  batch: readonly number[];
  dtype: readonly DType[] | null;
  backend: string;
  link: string;
  hosts: string | null;
  /** Hosts of the ranks that mpirun or srun started. */
  mpi: string | null;
  launchAgent: string | null;
  threads: number;
  ways: number | null;
  layersFraction: number;
  repeat: number;
  maxRepeat: number;
  maxSeconds: number;
  interval: number;
  warmup: number;
  seed: number;
  outputTokens: number;
}

const known: readonly (keyof BenchOptions)[] = [
  "models",
  "architectures",
  "ranks",
  "context",
  "batch",
  "dtype",
  "backend",
  "link",
  "hosts",
  "launchAgent",
  "threads",
  "ways",
  "layersFraction",
  "repeat",
  "maxRepeat",
  "maxSeconds",
  "interval",
  "warmup",
  "seed",
  "outputTokens",
];

const architectures: readonly Architecture[] = ["gpt", "parallel", "ladder", "kraken"];

/** A list without repetitions, each of its elements checked. */
function listOption<T>(name: string, values: readonly T[] | undefined, check: (value: T) => T): T[] | null {
  if (values === undefined) return null;
  if (!Array.isArray(values) || values.length === 0)
    throw optionError(name, "a list that is not empty", values);
  return [...new Set(values.map(check))];
}

const integers = (name: string, values: readonly number[] | undefined, max: number) =>
  listOption(name, values, (value) => integerOption(name, value ?? Number.NaN, { min: 1, max, fallback: 1 }));

function word<T extends string>(name: string, words: readonly T[]): (value: T) => T {
  return (value) => {
    if (!words.includes(value)) throw optionError(name, `one of ${words.join(", ")}`, value);
    return value;
  };
}

function fraction(name: string, value: number | undefined, fallback: number): number {
  const accept = (share: number) => share > 0 && share <= 1;
  return numberOption(name, value, { expected: "a number over 0 and at most 1", accept, fallback });
}

/** The host of each rank, where they are processes. Every rank has its place, so there is one number of them. */
function hostsOption({ hosts, launchAgent, link, ranks }: BenchOptions): readonly string[] | undefined {
  const parsed = parseHosts({ hosts, launchAgent });
  const started = ledMpiWorld();
  if (parsed && started) throw optionError("hosts", "left out: mpirun or srun has started the ranks", hosts);
  const byRank = parsed?.byRank ?? started?.hosts;
  const emulated = parseLink(link) !== undefined;
  if (!byRank) return undefined;
  if (emulated) throw optionError("link", "left out: hosts have a link of their own", link);
  const places = byRank.length;
  if (ranks?.some((count) => count !== places)) {
    throw optionError("ranks", `${places}, as many as there are places for, or left out`, ranks);
  }
  return byRank;
}

/** @throws ArgumentError ERR_OPTION naming the option */
export function resolveBench(phase: Phase, options: BenchOptions): Settings {
  checkKeys("bench", options, known);
  const hosts = hostsOption(options);
  const repeat = integerOption("repeat", options.repeat, { min: 2, max: 100_000, fallback: 10 });
  const decoding = phase === "decode";
  return {
    models: listOption("models", options.models, String) ?? ["paper:125m"],
    architectures:
      listOption("architectures", options.architectures, word("architectures", architectures)) ??
      architectures,
    ranks: hosts ? [hosts.length] : integers("ranks", options.ranks, 1024),
    context: integers("context", options.context, 1 << 24),
    batch: integers("batch", options.batch, 4096) ?? (decoding ? [1, 2, 4, 8] : [1]),
    dtype: listOption("dtype", options.dtype, word("dtype", dtypes)),
    backend: options.backend ?? "cpu",
    link: options.link ?? "none",
    hosts: options.hosts ?? null,
    mpi: ledMpiWorld()?.hosts.join(",") ?? null,
    launchAgent: options.launchAgent ?? null,
    threads: integerOption("threads", options.threads, {
      min: 1,
      max: 4096,
      fallback: availableParallelism() * (hosts ? new Set(hosts).size : 1),
    }),
    ways: options.ways === undefined ? null : integerOption("ways", options.ways, { min: 1, fallback: 1 }),
    layersFraction: fraction("layersFraction", options.layersFraction, 1),
    repeat,
    maxRepeat: integerOption("maxRepeat", options.maxRepeat, {
      min: repeat,
      max: 100_000,
      fallback: Math.max(100, repeat),
    }),
    maxSeconds: numberOption("maxSeconds", options.maxSeconds, {
      expected: "a positive number",
      accept: (seconds) => seconds > 0,
      fallback: 120,
    }),
    interval: fraction("interval", options.interval, 0.05),
    warmup: integerOption("warmup", options.warmup, { min: 0, max: 10_000, fallback: 2 }),
    seed: integerOption("seed", options.seed, { min: 0, max: 2 ** 32 - 1, fallback: 0 }),
    outputTokens: integerOption("outputTokens", options.outputTokens, {
      min: decoding ? 2 : 1,
      max: 1 << 20,
      fallback: decoding ? 32 : 1,
    }),
  };
}
