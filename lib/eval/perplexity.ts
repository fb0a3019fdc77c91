/**
 * Perplexity of texts longer than the context, by a sliding window with a stride: "Perplexity of fixed-length models"
 * in the documentation of Hugging Face's transformers. Each window gives the probabilities of the tokens that no window
 * before it gave; the stride decides how much context they have at least (context − stride).
 */
import { readFile } from "node:fs/promises";
import type { Engine } from "../engine.js";
import { ArgumentError } from "../errors.js";
import { withIoErrors } from "../io-error.js";
import { integerOption } from "../options.js";
import { promptTokens } from "../prompt.js";
import type { Tokenizer } from "../tokenizer.js";
import { forEachConcurrently, sharedSignal } from "./concurrency.js";
import { engineIdentity, fingerprint } from "./engine-identity.js";
import { Journal } from "./journal.js";

/** Tokens begin ≤ i < end of a text, of which the last `scored` are new. */
export interface Window {
  begin: number;
  end: number;
  scored: number;
}

/**
 * The windows of a text of `tokens` tokens. A token with nothing before it in its window has no probability: the
 * first of the text, and with stride = context the first of every window.
 */
export function slidingWindows(tokens: number, context: number, stride: number): Window[] {
  const windows: Window[] = [];
  for (let begin = 0, previousEnd = 0; previousEnd < tokens; begin += stride) {
    const end = Math.min(begin + context, tokens);
    const scored = Math.min(end - previousEnd, end - begin - 1);
    if (scored > 0) windows.push({ begin, end, scored });
    previousEnd = end;
  }
  return windows;
}

export interface PerplexityScore {
  /** Mean over the scored tokens of −ln p. */
  natsPerToken: number;
  /** exp(natsPerToken) */
  perplexity: number;
  /** Total −log2 p over `bytes`: comparable between tokenizers. */
  bitsPerByte: number;
  /** Of the text, with those that the tokenizer puts around it. */
  tokens: number;
  /** Tokens that have a probability. */
  scoredTokens: number;
  /** UTF-8 bytes of the text, less those of tokens that have no probability. */
  bytes: number;
}

export interface FileScore extends PerplexityScore {
  file: string;
}

export interface PerplexityReport extends PerplexityScore {
  /** Tokens of a window, and by how many it moves. */
  context: number;
  stride: number;
  windows: number;
  files: FileScore[];
}

/** Progress in tokens to compute; `earlier` of them an earlier run did. */
export interface EvalProgress {
  done: number;
  total: number;
  earlier: number;
}

export interface PerplexityOptions {
  /** Tokens of a window. Default: the most the engine takes. */
  context?: number | undefined;
  /** From one window's first token to the next's. Default: half the context. */
  stride?: number | undefined;
  /** Windows under way at a time. Default 16. */
  concurrency?: number | undefined;
  /** A file that keeps what is done, so that a killed run goes on. Whoever has the result safe removes it. */
  journal?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: EvalProgress) => void) | undefined;
}

/** What an evaluation needs of an Engine. */
export type Scorer = Pick<Engine, "config" | "manifest" | "maxSequenceLength" | "tokenizer"> & {
  score(
    tokens: Int32Array,
    options: { signal?: AbortSignal | undefined },
  ): Promise<{ logprobs: ArrayLike<number | null> }>;
};

interface Text {
  file: string;
  bytes: number;
  tokens: Int32Array;
  windows: Window[];
}

/**
 * Every file is a text of its own, read as it is.
 * @throws ArgumentError ERR_OPTION; ERR_DATA (no UTF-8, or fewer than two tokens), ERR_TOKEN_RANGE, ERR_NO_TOKENIZER
 *   before anything is scored; RuntimeError ERR_IO; what Engine.score() throws
 */
export async function evaluatePerplexity(
  engine: Scorer,
  files: readonly string[],
  options: PerplexityOptions = {},
): Promise<PerplexityReport> {
  const { onProgress } = options;
  const signal = sharedSignal(options.signal);
  const context = integerOption("context", options.context, {
    min: 2,
    max: engine.maxSequenceLength,
    fallback: engine.maxSequenceLength,
  });
  const stride = integerOption("stride", options.stride, {
    min: 1,
    max: context,
    fallback: Math.floor(context / 2),
  });
  const concurrency = integerOption("concurrency", options.concurrency, { min: 1, fallback: 16 });
  if (files.length === 0) throw new ArgumentError("ERR_OPTION", "`files` must name at least one text");

  const texts: Text[] = [];
  for (const file of files) texts.push(await readText(engine, file, context, stride));
  const identity = {
    what: "perplexity",
    engine: engineIdentity(engine.manifest),
    texts: fingerprint(JSON.stringify(texts.map(({ tokens }) => fingerprint(tokens)))),
    context,
    stride,
  };
  const journal = await Journal.open(options.journal, identity, (value) =>
    typeof value === "number" ? value : undefined,
  );

  const nats = await windowSums(texts, journal, (tokens) => engine.score(tokens, { signal }), {
    concurrency,
    onProgress,
  });
  const sums = texts.map(({ file, tokens, bytes, windows }, t) => ({
    file,
    tokens: tokens.length,
    bytes,
    scoredTokens: windows.reduce((sum, { scored }) => sum + scored, 0),
    nats: windows.reduce((sum, _, w) => sum + nats.get(keyOf(t, w))!, 0),
  }));
  const add = (key: keyof Sums) => sums.reduce((sum, text) => sum + text[key], 0);
  return {
    ...scoreOf({
      tokens: add("tokens"),
      bytes: add("bytes"),
      scoredTokens: add("scoredTokens"),
      nats: add("nats"),
    }),
    context,
    stride,
    windows: nats.size,
    files: sums.map((text) => ({ file: text.file, ...scoreOf(text) })),
  };
}

const keyOf = (text: number, window: number) => `${text}.${window}`;

/** −ln p of the new tokens of each window, those that the journal knows not computed again. */
async function windowSums(
  texts: readonly Text[],
  journal: Journal<number>,
  score: (tokens: Int32Array) => ReturnType<Scorer["score"]>,
  { concurrency, onProgress }: Pick<PerplexityOptions, "onProgress"> & { concurrency: number },
): Promise<Map<string, number>> {
  const items = texts.flatMap(({ tokens, windows }, t) =>
    windows.map((window, w) => ({ tokens, ...window, size: window.end - window.begin, key: keyOf(t, w) })),
  );
  const open = items.filter(({ key }) => !journal.earlier.has(key));
  const total = items.reduce((sum, { size }) => sum + size, 0);
  const earlier = total - open.reduce((sum, { size }) => sum + size, 0);
  const nats = new Map(journal.earlier);
  let done = earlier;
  onProgress?.({ done, total, earlier });
  await forEachConcurrently(open, concurrency, async ({ tokens, begin, end, scored, size, key }) => {
    const { logprobs } = await score(tokens.subarray(begin, end));
    let sum = 0;
    for (let i = logprobs.length - scored; i < logprobs.length; i++) sum -= logprobs[i]!;
    nats.set(key, sum);
    await journal.add(key, sum);
    done += size;
    onProgress?.({ done, total, earlier });
  });
  return nats;
}

interface Sums {
  tokens: number;
  bytes: number;
  scoredTokens: number;
  nats: number;
}

function scoreOf({ tokens, bytes, scoredTokens, nats }: Sums): PerplexityScore {
  const natsPerToken = nats / scoredTokens;
  return {
    natsPerToken,
    perplexity: Math.exp(natsPerToken),
    bitsPerByte: nats / Math.LN2 / bytes,
    tokens,
    scoredTokens,
    bytes,
  };
}

async function readText(engine: Scorer, file: string, context: number, stride: number): Promise<Text> {
  const content = await withIoErrors(`read ${file}`, () => readFile(file));
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch (error) {
    throw new ArgumentError("ERR_DATA", `${file} is not UTF-8 text`, { cause: error });
  }
  const { tokenizer, config } = engine;
  if (text === "") throw new ArgumentError("ERR_DATA", `${file} is empty: there is nothing to score`);
  const tokens = promptTokens(text, {
    tokenizer,
    vocabSize: config.vocabSize,
    bosTokenId: undefined,
    eosTokenIds: [],
  });
  const windows = slidingWindows(tokens.length, context, stride);
  if (windows.length === 0) {
    throw new ArgumentError(
      "ERR_DATA",
      `${file} is a single token: the first has no probability, so there is nothing to score`,
    );
  }
  return {
    file,
    tokens,
    windows,
    bytes: content.length - bytesWithoutProbability(tokens, windows, tokenizer!),
  };
}

/** Bytes that the tokens stand for which no window scores. */
function bytesWithoutProbability(
  tokens: Int32Array,
  windows: readonly Window[],
  tokenizer: Tokenizer,
): number {
  let bytes = 0;
  let next = 0;
  for (const { end, scored } of [...windows, { end: tokens.length, scored: 0 }]) {
    for (; next < end - scored; next++) bytes += bytesOf(tokens[next]!, tokenizer);
    next = end;
  }
  return bytes;
}

/** A token that begins a text stands for no bytes of it. */
function bytesOf(token: number, tokenizer: Tokenizer): number {
  return tokenizer.decode([token]) === "" ? 0 : tokenizer.tokenBytes(token).length;
}
