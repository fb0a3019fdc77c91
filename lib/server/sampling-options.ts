/** The API's sampling fields as options of generate(). */
import type { GenerateOptions } from "../sampling.js";
import { ApiError } from "./errors.js";
import type { ResolvedOptions } from "./options.js";
import type { SamplingRequest } from "./schemas/sampling.js";

/** Null is what clients send for "not set". */
const set = <T>(value: T | null | undefined): T | undefined => value ?? undefined;

/** OpenAI's seeds are signed; any one-to-one way to a seed of ours will do. */
const seedOf = (seed: number | undefined): number | bigint | undefined =>
  seed !== undefined && seed < 0 ? BigInt.asUintN(63, BigInt(seed)) : seed;

export function samplingOptions(
  body: SamplingRequest,
  maxTokens: number,
  logprobs: number | undefined,
): GenerateOptions {
  return {
    maxTokens,
    minTokens: set(body.min_tokens),
    temperature: set(body.temperature),
    topP: set(body.top_p),
    topK: set(body.top_k),
    minP: set(body.min_p),
    repetitionPenalty: set(body.repetition_penalty),
    presencePenalty: set(body.presence_penalty),
    frequencyPenalty: set(body.frequency_penalty),
    seed: seedOf(set(body.seed)),
    logitBias: set(body.logit_bias),
    stop: set(body.stop),
    stopTokens: set(body.stop_token_ids),
    ignoreEos: set(body.ignore_eos),
    logprobs,
    n: set(body.n),
  };
}

/**
 * How many tokens the output may have.
 * @param asked what the client set
 * @param fallback what it gets otherwise, where there is room
 * @throws ApiError for more than the server allows; what the context allows is the engine's to say
 */
export function outputTokens(
  asked: number | null | undefined,
  fallback: number,
  longestPrompt: number,
  maxSequenceLength: number,
  { maxOutputTokens }: ResolvedOptions,
): number {
  if (asked === null || asked === undefined) {
    return Math.max(1, Math.min(fallback, maxOutputTokens, maxSequenceLength - longestPrompt));
  }
  if (asked <= maxOutputTokens) return asked;
  throw new ApiError(
    "ERR_CONTEXT_LENGTH",
    `\`max_tokens\` is ${asked}, more than the ${maxOutputTokens} this server allows`,
    { param: "max_tokens" },
  );
}

/** @throws ApiError */
export function checkSamples(
  prompts: number,
  n: number | null | undefined,
  { maxSamples }: ResolvedOptions,
): void {
  const samples = prompts * (n ?? 1);
  if (samples <= maxSamples) return;
  throw new ApiError(
    "ERR_OPTION",
    `${prompts} prompts with \`n\` ${n ?? 1} are ${samples} continuations, more than the ${maxSamples} one request may ask for`,
    { param: "n" },
  );
}

/** @throws ApiError */
export function checkStreamOptions({ stream, stream_options }: SamplingRequest): void {
  if (!stream_options || stream) return;
  throw new ApiError("ERR_OPTION", "`stream_options` is for streams: set `stream`", {
    param: "stream_options",
  });
}
