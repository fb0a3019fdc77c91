/** chat.completion, and chat.completion.chunk in streams: what /v1/chat/completions answers. */
import type { GenerationEvent, SampleResult, TokenLogprob } from "../../sample-stream.js";
import type { ChatTokenLogprob } from "../schemas/chat.js";
import type { TokenWords } from "../token-words.js";
import { type ChoiceFormat, chunkFrame, type ResponseFormat, usageChunk } from "./format.js";

export interface ChatFormatOptions {
  id: string;
  created: number;
  model: string;
  includeUsage: boolean;
  logprobs: boolean;
  returnTokenIds: boolean;
  words: TokenWords;
}

export function chatFormat(options: ChatFormatOptions): ResponseFormat {
  const { id, created, model, includeUsage } = options;
  const chunk = { id, object: "chat.completion.chunk", created, model };
  const frame = chunkFrame(chunk, includeUsage);
  return {
    choice: (index) => chatChoice(index, options, frame),
    usage: (usage) => usageChunk(chunk, usage),
    whole: (choices, usage) => ({ id, object: "chat.completion", created, model, choices, usage }),
  };
}

function chatChoice(
  index: number,
  { logprobs, returnTokenIds, words }: ChatFormatOptions,
  frame: (choice: string) => string,
): ChoiceFormat {
  const one = (token: number, logprob: number) => ({
    token: words.word(token),
    logprob,
    bytes: words.bytes(token),
  });
  const entry = (
    token: number,
    logprob: number | undefined,
    alternatives: readonly TokenLogprob[] | undefined,
  ): ChatTokenLogprob => ({
    ...one(token, logprob ?? Number.NaN),
    top_logprobs: (alternatives ?? []).map((alternative) => one(alternative.token, alternative.logprob)),
  });
  return {
    begin: () =>
      frame(
        `{"index":${index},"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`,
      ),
    token({ text, token, logprob, alternatives }: GenerationEvent) {
      const counts = token >= 0 && (logprobs || returnTokenIds);
      if (text === "" && !counts) return undefined;
      const told =
        counts && logprobs
          ? JSON.stringify({ content: [entry(token, logprob, alternatives)], refusal: null })
          : "null";
      const ids = returnTokenIds ? `,"token_ids":${counts ? `[${token}]` : "[]"}` : "";
      return frame(
        `{"index":${index},"delta":{"content":${JSON.stringify(text)}},"logprobs":${told}${ids},"finish_reason":null}`,
      );
    },
    end: (finishReason) =>
      frame(`{"index":${index},"delta":{},"logprobs":null,"finish_reason":${JSON.stringify(finishReason)}}`),
    whole: (sample: SampleResult) => ({
      index,
      message: { role: "assistant", content: sample.text, refusal: null },
      logprobs: logprobs
        ? {
            content: sample.tokens.map((token, i) =>
              entry(token, sample.logprobs?.[i], sample.alternatives?.[i]),
            ),
            refusal: null,
          }
        : null,
      finish_reason: sample.finishReason,
      ...(returnTokenIds && { token_ids: sample.tokens }),
    }),
  };
}
