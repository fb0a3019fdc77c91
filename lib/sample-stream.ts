/** One continuation as it grows: tokens to text, stop strings, and why it ended. */
import type { NativeResponse } from "./native.js";
import { StopStrings } from "./stop-strings.js";
import type { Tokenizer } from "./tokenizer.js";

/** A token and how likely it was. */
export interface TokenLogprob {
  token: number;
  /** Natural logarithm of the model's probability. */
  logprob: number;
}

/** What an iteration over a generation yields: one token. */
export interface GenerationEvent {
  /**
   * Text that can be shown now: never part of a UTF-8 character, never the beginning of a stop string. May be "", and
   * is always "" without a tokenizer.
   */
  text: string;
  /** −1 for text that had been held back and came free when the sample ended without a further token. */
  token: number;
  /** Which of the `n` continuations, from 0. */
  sample: number;
  /** With `logprobs`. */
  logprob?: number;
  /** With `logprobs` ≥ 1, most likely first. */
  alternatives?: TokenLogprob[];
}

/** `stop`: an end-of-text or stop token, or a stop string; `length`: the most tokens allowed; `cancelled`: ended by the caller. */
export type FinishReason = "stop" | "length" | "cancelled";

/** One continuation. */
export interface SampleResult {
  text: string;
  /** Generated token ids, without the stop token that ended them. */
  tokens: number[];
  /** With `logprobs`: one for each token. */
  logprobs?: number[];
  /** With `logprobs` ≥ 1: the most likely tokens at each position. */
  alternatives?: TokenLogprob[][];
  finishReason: FinishReason;
  /** finishReason "stop": the stop string, or the token id. */
  stopReason?: string | number;
}

export interface SampleOptions {
  tokenizer: Tokenizer | undefined;
  /** What the text continues. */
  prompt: Int32Array;
  stop: readonly string[];
  stopTokens: ReadonlySet<number>;
  minTokens: number;
  /** As in NativeSampling. */
  logprobs: number;
}

export class SampleStream {
  readonly tokens: number[] = [];
  finishReason: FinishReason | undefined;

  #text = "";
  readonly #logprobs: number[] = [];
  readonly #alternatives: TokenLogprob[][] = [];
  #stopReason: string | number | undefined;
  readonly #decoder;
  readonly #stops: StopStrings;

  constructor(
    private readonly index: number,
    private readonly options: SampleOptions,
  ) {
    this.#decoder = options.tokenizer?.stream({ after: options.prompt });
    this.#stops = new StopStrings(options.stop);
  }

  /** Takes a response that is not an error; returns what the consumer gets to see of it. */
  push(response: NativeResponse): GenerationEvent | undefined {
    if (this.finishReason) return undefined; // a stop string ended it before the executor knew
    const { token, finish } = response;
    const stopToken = finish === "stop" && this.options.stopTokens.has(token);
    let text = "";
    const counted = token >= 0 && !stopToken;
    if (counted) {
      this.tokens.push(token);
      if (this.options.logprobs >= 0) this.#logprobs.push(response.logprob);
      if (this.options.logprobs >= 1) this.#alternatives.push(response.alternatives ?? []);
      text = this.#emit(this.#decoder?.push(token) ?? "");
    }
    if (finish && !this.finishReason) {
      text += this.end(finish === "stop" ? "stop" : finish === "length" ? "length" : "cancelled");
      if (stopToken && this.finishReason === "stop") this.#stopReason ??= token;
    }
    if (!counted) return text === "" ? undefined : { text, token: -1, sample: this.index };
    const event: GenerationEvent = { text, token, sample: this.index };
    if (this.options.logprobs >= 0) event.logprob = response.logprob;
    if (this.options.logprobs >= 1) event.alternatives = response.alternatives ?? [];
    return event;
  }

  /** Ends the sample; returns the text that had been held back. */
  end(reason: FinishReason): string {
    if (this.finishReason) return "";
    // What the decoder still holds may complete a stop string, which then is the reason.
    let text = this.#emit(this.#decoder?.flush() ?? "");
    if (!this.finishReason) {
      this.finishReason = reason;
      const held = this.#stops.flush();
      this.#text += held;
      text += held;
    }
    return text;
  }

  result(): SampleResult {
    const result: SampleResult = {
      text: this.#text,
      tokens: this.tokens,
      finishReason: this.finishReason ?? "cancelled",
    };
    if (this.options.logprobs >= 0) result.logprobs = this.#logprobs;
    if (this.options.logprobs >= 1) result.alternatives = this.#alternatives;
    if (this.#stopReason !== undefined) result.stopReason = this.#stopReason;
    return result;
  }

  #emit(piece: string): string {
    // Too early to stop: nothing is looked for, so nothing is held back.
    const early = this.tokens.length < this.options.minTokens;
    const { text, stop } = early ? { text: piece, stop: undefined } : this.#stops.push(piece);
    this.#text += text;
    if (stop !== undefined) {
      this.finishReason = "stop";
      this.#stopReason = stop;
    }
    return text;
  }
}
