/**
 * A running generate(): one object that is both an AsyncIterable of tokens and awaitable for the whole.
 *
 * Tokens are buffered from the start, so iterating late, or after awaiting, loses nothing; the buffer is bounded by
 * maxTokens · n. Iterating slowly does not slow the engine down.
 */
import { ArgumentError } from "./errors.js";
import type { NativeRequest, NativeResponse } from "./native.js";
import type { Consumer, RequestTable } from "./requests.js";
import {
  type GenerationEvent,
  type SampleOptions,
  type SampleResult,
  SampleStream,
} from "./sample-stream.js";

export interface GenerationTiming {
  /** Milliseconds from the call of generate() to the first token in JavaScript; NaN without a token. */
  ttftMs: number;
  /** The same inside the engine: from its queue to the token; NaN without a token. */
  engineTtftMs: number;
  /** Milliseconds the request waited in the engine's queue before its first step; NaN if it never ran. */
  queueMs: number;
  /** Mean milliseconds per token after the first (of sample 0); NaN with fewer than two tokens. */
  decodeMsPerToken: number;
  /** Milliseconds from the call of generate() to the end. */
  totalMs: number;
  /** How often its samples were set back and recomputed because key/value memory ran out. */
  preemptions: number;
}

/** Sample 0, and with `n` > 1 all of them. */
export interface GenerationResult extends SampleResult {
  promptTokens: number;
  /** Of these, tokens whose keys and values an earlier request had left in memory (option `prefixReuse`). */
  cachedTokens: number;
  /** The seed that gives this text again. */
  seed: number | bigint;
  timing: GenerationTiming;
  /** With `n` > 1: every continuation, sample 0 first. */
  samples?: SampleResult[];
}

/**
 * What `engine.generate()` returns. Iterate it for tokens as they come, await it for the whole, or both.
 *
 * - Errors, those of the arguments too, reject: at `await`, and at the iteration's next step.
 * - Abort rejects with the signal's reason; tokens not yet taken are dropped.
 * - Leaving the loop early cancels quietly: awaiting it then gives what there is, with finishReason "cancelled".
 * - It can be iterated once, and awaited as often as wanted.
 * - One that is neither iterated nor awaited runs to its end; if it fails, nobody is told.
 */
export interface Generation extends AsyncIterable<GenerationEvent>, PromiseLike<GenerationResult> {
  catch<T = never>(
    onRejected?: ((reason: unknown) => T | PromiseLike<T>) | null,
  ): Promise<GenerationResult | T>;
  finally(onFinally?: (() => void) | null): Promise<GenerationResult>;
  /** Ends it where it is; the result has finishReason "cancelled". Without effect once it has ended. */
  cancel(): void;
}

export interface GenerationRequest {
  native: NativeRequest;
  sample: SampleOptions;
  seed: number | bigint;
  signal: AbortSignal | undefined;
  /** Kept reachable until the end: an Engine that is collected ends its executor. */
  owner: object;
}

interface Waiter {
  resolve(result: IteratorResult<GenerationEvent, undefined>): void;
  reject(error: unknown): void;
}

/** Created first and begun later, so that whatever goes wrong in between rejects it. */
export class ActiveGeneration implements Generation, Consumer {
  readonly #started = performance.now();
  readonly #result: Promise<GenerationResult>;
  #resolve!: (result: GenerationResult) => void;
  #rejectResult!: (error: unknown) => void;

  #request: GenerationRequest | undefined;
  #table: RequestTable | undefined;
  #id: number | undefined;
  #samples: SampleStream[] = [];
  /** Samples that the executor has not ended. */
  #running = 0;
  #firstAt = Number.NaN;
  #firstDecodeAt = Number.NaN;
  #lastAt = Number.NaN;
  #engineTtftMs = Number.NaN;
  #queueMs: number | undefined;
  #preemptions = 0;
  #cachedTokens = 0;

  #settled = false;
  #failure: { error: unknown } | undefined;
  #iterated = false;
  #left = false;
  #events: GenerationEvent[] = [];
  /** Index of the first event not yet taken. */
  #head = 0;
  #waiters: Waiter[] = [];

  constructor() {
    this.#result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#rejectResult = reject;
    });
    this.#result.catch(() => {}); // whoever awaits or iterates is told; nobody else needs to be
  }

  /**
   * Hands the request to the executor.
   * @throws what submitting throws, and the signal's reason if it is aborted already
   */
  begin(table: RequestTable, request: GenerationRequest): void {
    request.signal?.throwIfAborted();
    const { samples } = request.native;
    this.#samples = Array.from({ length: samples }, (_, index) => new SampleStream(index, request.sample));
    this.#running = samples;
    this.#request = request;
    this.#table = table;
    this.#id = table.submit(request.native, this);
    request.signal?.addEventListener("abort", this.#onAbort);
  }

  // biome-ignore lint/suspicious/noThenProperty: awaitable by design
  then<A = GenerationResult, B = never>(
    onFulfilled?: ((result: GenerationResult) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(onFulfilled, onRejected);
  }

  catch<T = never>(
    onRejected?: ((reason: unknown) => T | PromiseLike<T>) | null,
  ): Promise<GenerationResult | T> {
    return this.#result.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<GenerationResult> {
    return this.#result.finally(onFinally);
  }

  cancel(): void {
    if (this.#settled) return;
    for (const [index, sample] of this.#samples.entries()) {
      const text = sample.end("cancelled");
      if (text !== "") this.#events.push({ text, token: -1, sample: index });
    }
    this.#cancelNative();
    this.#finish();
  }

  [Symbol.asyncIterator](): AsyncIterator<GenerationEvent, undefined> {
    if (this.#iterated) {
      throw new ArgumentError("ERR_OPTION", "a Generation can be iterated once; await it for the whole text");
    }
    this.#iterated = true;
    return {
      next: () =>
        new Promise((resolve, reject) => {
          this.#waiters.push({ resolve, reject });
          this.#serve();
        }),
      return: async () => {
        this.#left = true;
        this.cancel();
        this.#serve();
        return { done: true, value: undefined };
      },
    };
  }

  /** @internal */
  receive(response: NativeResponse): void {
    if (this.#settled) return;
    if (response.queueMs !== undefined) this.#queueMs ??= response.queueMs;
    if (response.sample === 0) this.#cachedTokens = response.cachedTokens ?? this.#cachedTokens;
    if (response.finish !== "") this.#preemptions += response.preemptions ?? 0;
    const sample = this.#samples[response.sample];
    const event = sample?.push(response);
    if (event) {
      if (event.token >= 0) this.#clock(response);
      this.#events.push(event);
    }
    if (response.finish !== "") this.#running--;
    if (this.#samples.every((s) => s.finishReason)) {
      if (this.#running > 0) this.#cancelNative(); // a stop string ended a sample
      this.#finish();
    } else if (this.#waiters.length > 0) {
      this.#serve();
    }
  }

  /** @internal */
  reject(error: unknown): void {
    if (this.#settled) return;
    this.#failure = { error };
    [this.#events, this.#head] = [[], 0];
    this.#rejectResult(error);
    this.#settle();
  }

  readonly #onAbort = (): void => {
    this.#cancelNative();
    this.reject(this.#request?.signal?.reason);
  };

  #cancelNative(): void {
    if (this.#id !== undefined) this.#table?.cancel(this.#id);
  }

  #clock(response: NativeResponse): void {
    const now = performance.now();
    if (Number.isNaN(this.#firstAt)) {
      this.#firstAt = now;
      this.#engineTtftMs = response.firstTokenMs ?? Number.NaN;
    }
    if (response.sample !== 0) return;
    if (Number.isNaN(this.#firstDecodeAt)) this.#firstDecodeAt = now;
    this.#lastAt = now;
  }

  #finish(): void {
    const request = this.#request;
    const all = this.#samples.map((sample) => sample.result());
    const tokens = this.#samples[0]?.tokens.length ?? 0;
    this.#resolve({
      ...(all[0] ?? { text: "", tokens: [], finishReason: "cancelled" }),
      promptTokens: request?.native.prompt.length ?? 0,
      cachedTokens: this.#cachedTokens,
      seed: request?.seed ?? 0,
      timing: {
        ttftMs: this.#firstAt - this.#started,
        engineTtftMs: this.#engineTtftMs,
        queueMs: this.#queueMs ?? Number.NaN,
        decodeMsPerToken: tokens > 1 ? (this.#lastAt - this.#firstDecodeAt) / (tokens - 1) : Number.NaN,
        totalMs: performance.now() - this.#started,
        preemptions: this.#preemptions,
      },
      ...(all.length > 1 ? { samples: all } : {}),
    });
    this.#settle();
  }

  #settle(): void {
    this.#settled = true;
    this.#request?.signal?.removeEventListener("abort", this.#onAbort);
    this.#serve();
  }

  #take(): GenerationEvent {
    const event = this.#events[this.#head++]!;
    if (this.#head === this.#events.length) [this.#events, this.#head] = [[], 0];
    return event;
  }

  /** Gives waiting next() calls what there is: tokens, then the failure (once), then the end. */
  #serve(): void {
    while (this.#waiters.length > 0) {
      if (this.#left) {
        this.#waiters.shift()!.resolve({ done: true, value: undefined });
      } else if (this.#head < this.#events.length) {
        this.#waiters.shift()!.resolve({ done: false, value: this.#take() });
      } else if (this.#failure) {
        const { error } = this.#failure;
        this.#failure = undefined;
        this.#waiters.shift()!.reject(error);
      } else if (this.#settled) {
        this.#waiters.shift()!.resolve({ done: true, value: undefined });
      } else {
        return;
      }
    }
  }
}
