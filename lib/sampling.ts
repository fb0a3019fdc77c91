/** The options of generate(): how tokens are chosen and when to stop. Validated here, asserted in native code. */
import { webcrypto } from "node:crypto";
import { ArgumentError } from "./errors.js";
import type { NativeSampling } from "./native.js";
import {
  booleanOption,
  checkKeys,
  integerOption,
  numberOption,
  optionError,
  shown,
  signalOption,
} from "./options.js";

/** How `generate()` draws tokens, and when it ends. */
export interface GenerateOptions {
  /** Most tokens to generate, at least 1. Default: 256, or what is left of the context if that is less. */
  maxTokens?: number | undefined;
  /** No stop token, end-of-text token or stop string ends the text before that many tokens. Default 0. */
  minTokens?: number | undefined;
  /** Divides the logits; 0 is greedy (the most likely token, always). Default 1. */
  temperature?: number | undefined;
  /** Only the k most likely tokens are candidates; 0: all. Default 0. */
  topK?: number | undefined;
  /** Only the most likely tokens that together have this probability, in (0, 1]. Default 1: all. */
  topP?: number | undefined;
  /** Only tokens at least this fraction as likely as the most likely one, in [0, 1]. Default 0: all. */
  minP?: number | undefined;
  /** > 1 makes tokens of prompt and output less likely (CTRL, arXiv 1909.05858 §4.1). Default 1: off. */
  repetitionPenalty?: number | undefined;
  /** Subtracted from the logit of each token that the output has, from −2 to 2. Default 0. */
  presencePenalty?: number | undefined;
  /** Subtracted once per occurrence in the output, from −2 to 2. Default 0. */
  frequencyPenalty?: number | undefined;
  /** Non-negative integer below 2^64: the same seed gives the same text. Default: random, told in the result. */
  seed?: number | bigint | undefined;
  /** Added to the logits of token ids; −Infinity forbids a token. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number> | undefined;
  /** Text that ends the output where it would appear; it is not part of the output. Needs a tokenizer. */
  stop?: string | readonly string[] | undefined;
  /** Token ids that end the output, besides the model's end-of-text tokens. They are not part of the output. */
  stopTokens?: readonly number[] | undefined;
  /** Go on after the model's end-of-text tokens. Default false. */
  ignoreEos?: boolean | undefined;
  /**
   * true: give each token's log-probability (natural logarithm of the model's own probability, before temperature
   * and penalties); k from 0 to 20: and the k most likely alternatives. Default false.
   */
  logprobs?: boolean | number | undefined;
  /** Independent continuations of the prompt, from 1 to 128; sample i uses seed + i. Default 1. */
  n?: number | undefined;
  /** Aborting rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** What the checks need to know of engine and prompt. */
export interface SamplingContext {
  vocabSize: number;
  eosTokenIds: readonly number[];
  promptTokens: number;
  /** Most tokens of prompt and output together. */
  maxSequenceLength: number;
}

export interface ResolvedSampling {
  native: NativeSampling;
  samples: number;
  /** Stop strings. */
  stop: string[];
  /** As given or drawn. */
  seed: number | bigint;
  signal: AbortSignal | undefined;
}

export const defaultMaxTokens = 256;

const known: readonly (keyof GenerateOptions)[] = [
  "maxTokens",
  "minTokens",
  "temperature",
  "topK",
  "topP",
  "minP",
  "repetitionPenalty",
  "presencePenalty",
  "frequencyPenalty",
  "seed",
  "logitBias",
  "stop",
  "stopTokens",
  "ignoreEos",
  "logprobs",
  "n",
  "signal",
];

function tokenId(name: string, value: unknown, vocabSize: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value >= vocabSize) {
    throw optionError(name, `token ids from 0 to ${vocabSize - 1}`, value);
  }
  return value;
}

/** Drawn many at a time: a draw by itself costs more than all the rest of a request's checks. */
const drawn = new BigUint64Array(256);
let undrawn = 0;

function drawSeed(): number {
  if (undrawn === 0) {
    webcrypto.getRandomValues(drawn);
    undrawn = drawn.length;
  }
  // 53 bits, so that the seed told in a result is a number that JSON keeps.
  return Number(drawn[--undrawn]! >> 11n);
}

function seedOption(value: unknown): number | bigint {
  if (value === undefined) return drawSeed();
  const valid =
    typeof value === "bigint"
      ? value >= 0n && value < 2n ** 64n
      : Number.isSafeInteger(value) && (value as number) >= 0;
  if (!valid) throw optionError("seed", "an integer from 0 to 2^53 − 1, or a bigint below 2^64", value);
  return value as number | bigint;
}

function logitBiasOption(value: unknown, vocabSize: number): [number, number][] {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw optionError("logitBias", "an object or Map of token id → bias", value);
  }
  const entries: [unknown, unknown][] =
    value instanceof Map ? [...value] : Object.entries(value).map(([id, bias]) => [Number(id), bias]);
  return entries.map(([id, bias]) => {
    const token = tokenId("logitBias", id, vocabSize);
    if (typeof bias !== "number" || Number.isNaN(bias) || bias === Number.POSITIVE_INFINITY) {
      throw optionError(`logitBias[${token}]`, "a finite number or −Infinity", bias);
    }
    return [token, bias];
  });
}

function stopOption(value: unknown): string[] {
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((text) => {
    if (typeof text !== "string" || text === "")
      throw optionError("stop", "non-empty text or a list of it", value);
    return text;
  });
}

function stopTokensOption(value: unknown, vocabSize: number): number[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw optionError("stopTokens", "a list of token ids", value);
  return value.map((id) => tokenId("stopTokens", id, vocabSize));
}

function logprobsOption(value: unknown): number {
  if (value === undefined || value === false) return -1;
  if (value === true) return 0;
  return integerOption("logprobs", value, { min: 0, max: 20, fallback: -1 });
}

function maxTokensOption(value: unknown, { promptTokens, maxSequenceLength }: SamplingContext): number {
  const room = maxSequenceLength - promptTokens;
  if (room < 1) {
    throw new ArgumentError(
      "ERR_CONTEXT_LENGTH",
      `the prompt has ${promptTokens} tokens, but prompt and output together can have ${maxSequenceLength}: ` +
        "shorten the prompt (or load the engine with a larger `maxSequenceLength`, if the model has the positions)",
    );
  }
  const maxTokens = integerOption("maxTokens", value, { min: 1, fallback: Math.min(defaultMaxTokens, room) });
  if (maxTokens > room) {
    throw new ArgumentError(
      "ERR_CONTEXT_LENGTH",
      `\`maxTokens\` is ${maxTokens} after a prompt of ${promptTokens} tokens, but prompt and output together can ` +
        `have ${maxSequenceLength}: at most ${room} tokens can follow`,
    );
  }
  return maxTokens;
}

/**
 * Validates the options and fills in defaults.
 * @throws ArgumentError ERR_OPTION, or ERR_CONTEXT_LENGTH when prompt and maxTokens don't fit
 */
export function resolveSampling(options: GenerateOptions, context: SamplingContext): ResolvedSampling {
  checkKeys("generate", options, known);
  const signal = signalOption(options.signal);
  const maxTokens = maxTokensOption(options.maxTokens, context);
  const minTokens = integerOption("minTokens", options.minTokens, { min: 0, fallback: 0 });
  const temperature = numberOption("temperature", options.temperature, {
    expected: "a number from 0 (greedy) to 100",
    accept: (t) => t >= 0 && t <= 100,
    fallback: 1,
  });
  const samples = integerOption("n", options.n, { min: 1, max: 128, fallback: 1 });
  if (minTokens > maxTokens) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`minTokens\` (${minTokens}) exceeds \`maxTokens\` (${maxTokens})`,
    );
  }
  if (temperature === 0 && samples > 1) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`n\` is ${samples} with \`temperature\` 0, but greedy samples are all the same: raise the temperature or use n: 1`,
    );
  }
  const penalty = {
    expected: "a number from −2 to 2",
    accept: (p: number) => p >= -2 && p <= 2,
    fallback: 0,
  };
  const seed = seedOption(options.seed);
  if (BigInt(seed) + BigInt(samples - 1) >= 2n ** 64n) {
    throw optionError("seed", `at most 2^64 − ${samples} with \`n\` ${samples}`, seed);
  }
  const stopTokens = stopTokensOption(options.stopTokens, context.vocabSize);
  const ignoreEos = booleanOption("ignoreEos", options.ignoreEos, false);
  const native: NativeSampling = {
    temperature,
    topK: integerOption("topK", options.topK, { min: 0, fallback: 0 }),
    topP: numberOption("topP", options.topP, {
      expected: "a number above 0 and at most 1 (1: off)",
      accept: (p) => p > 0 && p <= 1,
      fallback: 1,
    }),
    minP: numberOption("minP", options.minP, {
      expected: "a number from 0 (off) to 1",
      accept: (p) => p >= 0 && p <= 1,
      fallback: 0,
    }),
    repetitionPenalty: numberOption("repetitionPenalty", options.repetitionPenalty, {
      expected: "a number above 0 and at most 10 (1: off)",
      accept: (p) => p > 0 && p <= 10,
      fallback: 1,
    }),
    presencePenalty: numberOption("presencePenalty", options.presencePenalty, penalty),
    frequencyPenalty: numberOption("frequencyPenalty", options.frequencyPenalty, penalty),
    seed: BigInt(seed),
    logitBias: logitBiasOption(options.logitBias, context.vocabSize),
    maxTokens,
    minTokens,
    stopTokens: [...new Set([...stopTokens, ...(ignoreEos ? [] : context.eosTokenIds)])],
    logprobs: logprobsOption(options.logprobs),
  };
  const forbidden = native.logitBias.filter(([, bias]) => bias === Number.NEGATIVE_INFINITY).length;
  if (forbidden >= context.vocabSize) {
    throw new ArgumentError("ERR_OPTION", `\`logitBias\` forbids all ${shown(context.vocabSize)} tokens`);
  }
  return { native, samples, stop: stopOption(options.stop), seed, signal };
}
