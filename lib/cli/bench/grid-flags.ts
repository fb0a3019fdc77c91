/** The options that the benchmarks share: what is compared and where it runs; of `bench ttft` and `bench latency`, how long. */
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import type { BenchOptions } from "../../bench/options.js";
import type { Architecture, DType } from "../../model-config.js";
import { architectures, backend, dtype, rankAliases } from "../commands/build.js";
import { addFlag, choice, integer, integers, number } from "../flags.js";
import { addOutputFlags, type OutputFlags } from "./outputs.js";

export interface GridFlags extends OutputFlags {
  models?: string[];
  architectures?: Architecture[];
  ranks?: number[];
  context?: number[];
  batch?: number[];
  dtype?: DType[];
  backend?: string;
  link?: string;
  hosts?: string;
  launchAgent?: string;
  threads?: number;
  ways?: number;
  layersFraction?: number;
  repeat?: number;
  maxRepeat?: number;
  maxSeconds?: number;
  interval?: number;
  warmup?: number;
  seed?: number;
  outputTokens?: number;
  resume?: true;
}

export const words = (value: string): string[] => value.split(",").map((word) => word.trim());

/** Each of a list, by the parser of one. */
export const listOf = (one: (value: string, previous: unknown) => unknown) => (value: string) =>
  words(value).map((word) => one(word, undefined));

/** "5%" or 0.05. */
export function share(value: string): number {
  const [, digits, sign] = /^([\d.]+)\s*(%?)$/.exec(value.trim()) ?? [];
  const amount = Number(digits);
  if (digits === undefined || !Number.isFinite(amount))
    throw new InvalidArgumentError("It must be a share, as in 5%.");
  return sign === "%" ? amount / 100 : amount;
}

const architectureNames = { standard: "gpt" };

/** Models and how they run. @param batch the default of `--batch`, where there is one */
export function addModelFlags(command: Command, batch?: string): void {
  const flag = (flags: string, text: string, settings = {}) =>
    addFlag(command, flags, text, { env: false, ...settings });
  command.optionsGroup("Models:");
  flag("--models <list>", "presets, engine directories, paper:125m … paper:175b (default: paper:125m)", {
    parse: words,
  });
  flag("--architectures <list>", "of the paper's sizes: standard, parallel, ladder, kraken (default: all)", {
    parse: listOf(choice(architectures, architectureNames)),
  });
  flag("--ways <n>", "of the paper's Krakens (default: the ranks, at least 2)", { parse: integer });
  flag("--layers-fraction <share>", "part of the layers of the paper's sizes, as in 0.25 (default: 1)", {
    parse: number,
  });
  command.optionsGroup("Run:");
  flag("--ranks <list>", "rank counts; also --tp (default: the engines', or 2)", {
    parse: integers,
    aliases: rankAliases,
  });
  const contexts = batch ? "lengths (default: 128 and the longest the models take)" : "length (default: 128)";
  flag(`--context <${batch ? "list" : "n"}>`, `prompt ${contexts}`, {
    parse: integers,
    aliases: ["--context-length"],
  });
  if (batch) flag("--batch <list>", `sequences at once (default: ${batch})`, { parse: integers });
  flag("--dtype <list>", "float32, bfloat16, float16, int8 (default: the engines', or bfloat16)", {
    parse: listOf(dtype),
  });
  flag("--backend <name>", "cpu, tensorrt or tensorrt-llm (default: cpu)", { parse: backend });
  flag("--link <link>", "emulate a link between the ranks, as in 10Gbit,20us (default: none)");
  flag("--threads <n>", "compute threads of all ranks together (default: the cores)", { parse: integer });
  flag("--seed <n>", "of weights, prompts and the order of turns (default: 0)", { parse: integer });
}

export function addHostFlags(command: Command): void {
  command.optionsGroup("Several hosts:");
  const flag = (flags: string, text: string) => addFlag(command, flags, text, { env: false });
  flag("--hosts <list>", "hosts and the ranks of each, this one first, as in a:1,b:1 (default: all here)");
  flag("--launch-agent <cmd>", "starts ranks there: gets HOST COMMAND… (default: ssh)");
}

export function addGridFlags(command: Command, decoding: boolean): void {
  addModelFlags(command, decoding ? "1,2,4,8" : "1");
  const flag = (flags: string, text: string, settings = {}) =>
    addFlag(command, flags, text, { env: false, ...settings });
  const tokens = decoding
    ? "tokens of each output (default: 32)"
    : "over 1: time the tokens after the first too (default: 1)";
  flag("--output-tokens <n>", tokens, { parse: integer });
  command.optionsGroup("Rounds (in each, every model takes its turn):");
  flag("--repeat <n>", "at least (default: 10)", { parse: integer });
  flag("--max-repeat <n>", "at most (default: 100)", { parse: integer });
  flag("--max-seconds <s>", "of a cell, after --repeat rounds (default: 120)", { parse: number });
  flag("--interval <share>", "a cell ends when all 95 % intervals are narrower (default: 5%)", {
    parse: share,
  });
  flag("--warmup <n>", "rounds that don't count, after the cold one (default: 2)", { parse: integer });
  addHostFlags(command);
  addOutputFlags(command);
  flag("--resume", "go on with what the file of --json holds");
}

export function benchOptions(flags: GridFlags): BenchOptions {
  const { json: _, csv, markdown, html, resume, ...options } = flags;
  return options;
}
