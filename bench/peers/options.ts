/** What is measured: the command line of `npm run bench:peers`, checked. */
import { parseArgs } from "node:util";
import { closest, integerOption, optionError } from "../../lib/options.js";

export const runtimes = [
  "kraken-engine",
  "pytorch",
  "pytorch-compile",
  "onnxruntime",
  "onnxruntime-node",
  "llama.cpp",
] as const;
export type Runtime = (typeof runtimes)[number];

export const models = { kraken: "kraken-125m-2way", gpt2: "gpt2-124m" } as const;
export type Model = keyof typeof models;

export const dtypes = ["bfloat16", "float16", "float32", "int8"] as const;
export type PeerDType = (typeof dtypes)[number];

/** Tokens after the first that a decode sample is the mean of. */
export const decodeTokens = 16;
/** Positions of both models. */
export const positions = 1024;

export interface PeersOptions {
  runtimes: Runtime[];
  models: Model[];
  dtypes: PeerDType[];
  /** Prompt lengths whose time to first token is measured, ascending; decoding follows the shortest. */
  contexts: number[];
  rounds: number;
  /** Our ranks, of one thread each, and the threads of every peer. */
  threads: number;
  json: string | undefined;
  chart: string | undefined;
  markdown: boolean;
  /** Shows what --json wrote, instead of measuring. */
  from: string | undefined;
}

function words<Word extends string>(name: string, text: string, known: readonly Word[]): Word[] {
  const given = text.split(",").map((word) => word.trim());
  const unknown = given.find((word) => !known.includes(word as Word));
  if (unknown !== undefined) {
    const meant = closest(unknown, known);
    throw optionError(name, meant ? `${meant}?` : `some of ${known.join(", ")}`, unknown);
  }
  return known.filter((word) => given.includes(word));
}

function integer(name: string, text: string, min: number, max: number): number {
  return integerOption(name, /^\d+$/.test(text.trim()) ? Number(text) : text, { min, max, fallback: min });
}

/** @throws ArgumentError ERR_OPTION naming the option, what it may be and what it is */
export function parseOptions(args: readonly string[]): PeersOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peers: { type: "string", default: runtimes.join() },
      models: { type: "string", default: Object.keys(models).join() },
      dtypes: { type: "string", default: "bfloat16,float16,float32" },
      contexts: { type: "string", default: "128,1023" },
      rounds: { type: "string", default: "7" },
      threads: { type: "string", default: "2" },
      json: { type: "string" },
      chart: { type: "string" },
      markdown: { type: "boolean", default: false },
      from: { type: "string" },
    },
  });
  const contexts = values.contexts.split(",").map((text) => integer("contexts", text, 2, positions - 1));
  contexts.sort((a, b) => a - b);
  if (contexts[0]! + decodeTokens + 1 > positions) {
    throw optionError(
      "contexts",
      `short enough to decode ${decodeTokens} tokens after the shortest`,
      contexts[0],
    );
  }
  const chosen = new Set<Runtime>(["kraken-engine", ...words("peers", values.peers, runtimes)]);
  return {
    runtimes: runtimes.filter((runtime) => chosen.has(runtime)),
    models: words("models", values.models, Object.keys(models) as Model[]),
    dtypes: words("dtypes", values.dtypes, dtypes),
    contexts: [...new Set(contexts)],
    rounds: integer("rounds", values.rounds, 1, 1000),
    threads: integer("threads", values.threads, 1, 1024),
    json: values.json,
    chart: values.chart,
    markdown: values.markdown,
    from: values.from,
  };
}
