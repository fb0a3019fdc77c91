/** text_completion: what /v1/completions answers. */
import type { GenerationEvent, SampleResult, TokenLogprob } from "../../sample-stream.js";
import type { StreamDecoder } from "../../tokenizer.js";
import type { CompletionLogprobs } from "../schemas/completions.js";
import type { TokenWords } from "../token-words.js";
import { type ChoiceFormat, chunkFrame, type ResponseFormat, usageChunk } from "./format.js";

/** The prompt at the beginning of a choice, for `echo`. */
export interface Echo {
  text: string;
  tokens: readonly number[];
  logprobs?: readonly (number | null)[];
  alternatives?: readonly (TokenLogprob[] | null)[];
}

export interface CompletionFormatOptions {
  id: string;
  created: number;
  model: string;
  includeUsage: boolean;
  /** undefined: none. */
  logprobs: number | undefined;
  returnTokenIds: boolean;
  words: TokenWords;
  /** Of the choice with this index. */
  echo(index: number): Echo | undefined;
  /** Tells where tokens begin in the text of that choice. */
  decoder(index: number): StreamDecoder | undefined;
}

export function completionFormat(options: CompletionFormatOptions): ResponseFormat {
  const { id, created, model } = options;
  const common = { id, object: "text_completion", created, model };
  const frame = chunkFrame(common, options.includeUsage);
  return {
    choice: (index) => new CompletionChoice(index, options, frame),
    usage: (usage) => usageChunk(common, usage),
    whole: (choices, usage) => ({ ...common, choices, usage }),
  };
}

class CompletionChoice implements ChoiceFormat {
  readonly #echo: Echo | undefined;
  readonly #decoder: StreamDecoder | undefined;
  /** Characters of the text so far: where the next token begins. */
  #offset = 0;

  constructor(
    private readonly index: number,
    private readonly options: CompletionFormatOptions,
    private readonly frame: (choice: string) => string,
  ) {
    this.#echo = options.echo(index);
    if (options.logprobs !== undefined) this.#decoder = options.decoder(index);
  }

  begin(): string | undefined {
    const echo = this.#echo;
    return echo && this.#chunk(echo.text, this.#echoLogprobs(echo), echo.tokens);
  }

  token(event: GenerationEvent): string | undefined {
    const { text, token } = event;
    const { logprobs, returnTokenIds } = this.options;
    const counts = token >= 0 && (logprobs !== undefined || returnTokenIds);
    if (text === "" && !counts) return undefined;
    if (!counts) return this.#chunk(text);
    return this.#chunk(
      text,
      logprobs === undefined
        ? null
        : this.#logprobs([token], [event.logprob ?? Number.NaN], [event.alternatives ?? null]),
      [token],
    );
  }

  end(finishReason: string): string {
    return this.frame(
      `{"index":${this.index},"text":"","logprobs":null,"finish_reason":${JSON.stringify(finishReason)}}`,
    );
  }

  whole(sample: SampleResult): object {
    const echo = this.#echo;
    const parts: CompletionLogprobs[] = [];
    if (this.options.logprobs !== undefined) {
      if (echo) parts.push(this.#echoLogprobs(echo)!);
      const { tokens, logprobs = [], alternatives = [] } = sample;
      parts.push(this.#logprobs(tokens, logprobs, alternatives));
    }
    return {
      index: this.index,
      text: (echo?.text ?? "") + sample.text,
      logprobs: parts.length > 0 ? joined(parts) : null,
      finish_reason: sample.finishReason,
      ...(this.options.returnTokenIds && { token_ids: [...(echo?.tokens ?? []), ...sample.tokens] }),
    };
  }

  #chunk(text: string, logprobs: CompletionLogprobs | null = null, tokens: readonly number[] = []): string {
    const ids = this.options.returnTokenIds ? `,"token_ids":${JSON.stringify(tokens)}` : "";
    return this.frame(
      `{"index":${this.index},"text":${JSON.stringify(text)},"logprobs":${JSON.stringify(logprobs)}${ids},"finish_reason":null}`,
    );
  }

  #echoLogprobs(echo: Echo): CompletionLogprobs | null {
    if (this.options.logprobs === undefined) return null;
    return this.#logprobs(echo.tokens, echo.logprobs ?? [], echo.alternatives ?? []);
  }

  #logprobs(
    tokens: readonly number[],
    logprobs: readonly (number | null)[],
    alternatives: readonly (readonly TokenLogprob[] | null | undefined)[],
  ): CompletionLogprobs {
    const { words, logprobs: k = 0 } = this.options;
    return {
      tokens: tokens.map((token) => words.word(token)),
      token_logprobs: tokens.map((_, i) => logprobs[i] ?? null),
      top_logprobs: k === 0 ? null : tokens.map((_, i) => byWord(alternatives[i], words)),
      text_offset: tokens.map((token) => {
        const begins = this.#offset;
        this.#offset += this.#decoder?.push(token).length ?? 0;
        return begins;
      }),
    };
  }
}

/** Tokens that look alike share a word; the likelier one has it. */
function byWord(
  alternatives: readonly TokenLogprob[] | null | undefined,
  words: TokenWords,
): Record<string, number> | null {
  if (!alternatives) return null;
  const result = Object.create(null) as Record<string, number>;
  for (const { token, logprob } of alternatives) result[words.word(token)] ??= logprob;
  return result;
}

function joined(parts: CompletionLogprobs[]): CompletionLogprobs {
  return {
    tokens: parts.flatMap((part) => part.tokens),
    token_logprobs: parts.flatMap((part) => part.token_logprobs),
    top_logprobs: parts[0]!.top_logprobs && parts.flatMap((part) => part.top_logprobs ?? []),
    text_offset: parts.flatMap((part) => part.text_offset),
  };
}
