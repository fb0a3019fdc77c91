/** Prompts of requests as token ids, within this server's limits. */
import { setImmediate as turn } from "node:timers/promises";
import type { Engine } from "../engine.js";
import { type Prompt, promptTokens } from "../prompt.js";
import type { TokenLogprob } from "../sample-stream.js";
import type { Tokenizer } from "../tokenizer.js";
import { ApiError } from "./errors.js";
import type { Echo } from "./formats/completion.js";
import type { ResolvedOptions } from "./options.js";

const longestTokens = new WeakMap<Tokenizer, number>();

/** Characters of the longest token: no text longer than that many times the limit can fit it. */
function longestToken(tokenizer: Tokenizer): number {
  let longest = longestTokens.get(tokenizer);
  if (longest === undefined) {
    longest = 1;
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      longest = Math.max(longest, tokenizer.tokenBytes(id).length);
    }
    longestTokens.set(tokenizer, longest);
  }
  return longest;
}

/** Encoding is work for the event loop: text that cannot fit is not even looked at. @throws ApiError */
export function checkTextLength(text: string, { tokenizer }: Engine, most: number): void {
  if (!tokenizer || text.length <= most || text.length <= most * longestToken(tokenizer)) return;
  throw new ApiError(
    "ERR_CONTEXT_LENGTH",
    `the prompt has ${text.length} characters, more than ${most} tokens can hold; shorten it`,
    { param: "prompt" },
  );
}

/** @throws ApiError, KrakenError as Engine.generate() */
export function tokensOf(prompt: Prompt, engine: Engine, { maxPromptTokens }: ResolvedOptions): Int32Array {
  if (typeof prompt === "string") checkTextLength(prompt, engine, maxPromptTokens);
  const tokens = promptTokens(prompt, {
    tokenizer: engine.tokenizer,
    vocabSize: engine.config.vocabSize,
    bosTokenId: engine.manifest.bosTokenId ?? engine.tokenizer?.bosTokenId,
    eosTokenIds: engine.eosTokenIds,
  });
  if (tokens.length > maxPromptTokens) {
    throw new ApiError(
      "ERR_CONTEXT_LENGTH",
      `the prompt has ${tokens.length} tokens, more than the ${maxPromptTokens} this server takes; shorten it`,
      { param: "prompt" },
    );
  }
  return tokens;
}

/** Logits of all positions at once: what they may take. */
const mostLogitsBytes = 256 << 20;

/** A prompt as `echo` shows it, with log-probabilities of its tokens and, for k ≥ 1, of the k likeliest there. */
export async function echoOf(
  text: string,
  tokens: Int32Array,
  logprobs: number | undefined,
  engine: Engine,
  signal: AbortSignal,
): Promise<Echo> {
  const echo: Echo = { text, tokens: [...tokens] };
  if (logprobs === undefined) return echo;
  if (logprobs === 0) return { ...echo, logprobs: (await engine.score(tokens, { signal })).logprobs };
  const bytes = tokens.length * engine.config.vocabSize * 4;
  if (bytes > mostLogitsBytes) {
    throw new ApiError(
      "ERR_CONTEXT_LENGTH",
      `\`echo\` with \`logprobs\` ${logprobs} needs ${bytes} bytes of logits for this prompt, more than ` +
        `${mostLogitsBytes}: shorten it, or ask for \`logprobs\` 0`,
      { param: "logprobs" },
    );
  }
  const { data, vocabSize } = await engine.logits(tokens, { signal });
  const chosen: (number | null)[] = [null];
  const alternatives: (TokenLogprob[] | null)[] = [null];
  for (let i = 1; i < tokens.length; i++) {
    if (i % 8 === 0) await turn(); // a row of a large vocabulary takes half a millisecond
    signal.throwIfAborted();
    const row = data.subarray((i - 1) * vocabSize, i * vocabSize);
    const total = logSumExp(row);
    chosen.push(row[tokens[i]!]! - total);
    alternatives.push(
      likeliest(row, logprobs).map(({ token, logit }) => ({ token, logprob: logit - total })),
    );
  }
  return { ...echo, logprobs: chosen, alternatives };
}

function logSumExp(row: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of row) if (logit > largest) largest = logit;
  let sum = 0;
  for (const logit of row) sum += Math.exp(logit - largest);
  return largest + Math.log(sum);
}

/** The k largest, largest first. */
function likeliest(row: Float32Array, k: number): { token: number; logit: number }[] {
  const best: { token: number; logit: number }[] = [];
  for (let token = 0; token < row.length; token++) {
    const logit = row[token]!;
    if (best.length === k && logit <= best[k - 1]!.logit) continue;
    let at = best.length;
    while (at > 0 && best[at - 1]!.logit < logit) at--;
    best.splice(at, 0, { token, logit });
    if (best.length > k) best.pop();
  }
  return best;
}
