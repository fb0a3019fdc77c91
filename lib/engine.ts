/** Engine: an engine directory, loaded and running. */
import { assemble, collect } from "./collector.js";
import type { EngineManifest } from "./engine-directory.js";
import { type EngineParts, loadEngine } from "./engine-loading.js";
import type { LoadOptions } from "./engine-options.js";
import { ArgumentError, fromNative, RuntimeError } from "./errors.js";
import { ActiveGeneration, type Generation } from "./generation.js";
import type { ModelConfig } from "./model-config.js";
import type { NativeExecutor, NativeRequest, NativeStats } from "./native.js";
import { booleanOption, checkKeys, integerOption, signalOption } from "./options.js";
import { type Prompt, promptTokens } from "./prompt.js";
import type { RequestTable } from "./requests.js";
import { type GenerateOptions, resolveSampling } from "./sampling.js";
import type { Tokenizer } from "./tokenizer.js";

/** Options of `score()` and `logits()`. */
export interface ScoreOptions {
  /** Aborting rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** What `score()` gives. */
export interface ScoreResult {
  tokens: number[];
  /** Natural logarithm of each token's probability given those before it; null for the first. */
  logprobs: (number | null)[];
  /** exp(−mean of the log-probabilities); NaN for a single token. */
  perplexity: number;
}

/** What `logits()` gives. */
export interface LogitsResult {
  /** One for each token of the prompt. */
  rows: number;
  vocabSize: number;
  /** Shape `[rows, vocabSize]`; row i holds the logits of the token after token i. */
  data: Float32Array;
}

/** Counts since load, and what is going on now. */
export interface EngineStats extends NativeStats {
  /** Requests of this Engine that have not ended, however far they are. */
  pending: number;
}

/** Options of `dispose()`. */
export interface DisposeOptions {
  /** Wait for what runs instead of cancelling it. Default false. */
  drain?: boolean | undefined;
}

/** Engines that nobody holds any more. Their threads are ended, but memory should not wait for the collector. */
const forgotten = new FinalizationRegistry(
  ({ directory, executor }: { directory: string; executor: NativeExecutor }) => {
    process.emitWarning(
      `the engine of ${directory} was collected without dispose(); use \`await using\` or call dispose()`,
      "KrakenWarning",
    );
    executor.shutdown().catch(() => {});
  },
);

/**
 * Several requests can run at once on one Engine, several Engines in one process, and each worker thread can have its
 * own. An idle Engine does not keep the process alive, and needs no dispose() before it ends.
 *
 *     await using engine = await Engine.load("engines/demo", { maxBatchSize: 8 });
 *     for await (const { text } of engine.generate("In the beginning")) process.stdout.write(text);
 */
export class Engine implements AsyncDisposable {
  readonly directory: string;
  /** The model. */
  readonly config: ModelConfig;
  readonly manifest: EngineManifest;
  /** undefined: the checkpoint came without one, and only token ids work. */
  readonly tokenizer: Tokenizer | undefined;
  /** Tokens that end a text: as the checkpoint says, else as the tokenizer does. */
  readonly eosTokenIds: readonly number[];
  /** Most tokens of prompt and output together. */
  readonly maxSequenceLength: number;

  readonly #executor: NativeExecutor;
  readonly #requests: RequestTable;
  #accepting = true;
  #closing: Promise<void> | undefined;

  /** @internal Use Engine.load(). */
  constructor(parts: EngineParts) {
    this.directory = parts.directory;
    this.config = parts.manifest.config;
    this.manifest = parts.manifest;
    this.tokenizer = parts.tokenizer;
    const { eosTokenIds } = parts.manifest;
    this.eosTokenIds = eosTokenIds.length > 0 ? eosTokenIds : (parts.tokenizer?.eosTokenIds ?? []);
    this.maxSequenceLength = parts.maxSequenceLength;
    this.#executor = parts.executor;
    this.#requests = parts.requests;
    this.#requests.attach(parts.executor);
    forgotten.register(this, { directory: this.directory, executor: this.#executor }, this);
  }

  /**
   * Loads an engine directory: checks it against its manifest while other threads map and pack the weights.
   *
   * @throws KrakenError ERR_OPTION, ERR_CONTEXT_LENGTH; ERR_ENGINE_PATH, ERR_ENGINE_CORRUPT, ERR_ENGINE_VERSION,
   *   ERR_ENGINE_BACKEND (each says what to rebuild); ERR_BACKEND_UNAVAILABLE, ERR_BACKEND_FAILED, ERR_COMMUNICATION,
   *   ERR_OUT_OF_MEMORY, ERR_NATIVE_LOAD,
   *   ERR_RANK_LOST (its worker was lost meanwhile), ERR_IO; the signal's reason when aborted
   */
  static async load(directory: string, options: LoadOptions = {}): Promise<Engine> {
    return new Engine(await loadEngine(directory, options));
  }

  /**
   * Continues a prompt. The request is queued before this returns; nothing is thrown here, errors reject what is
   * returned.
   *
   * Rejections: KrakenError ERR_OPTION, ERR_CONTEXT_LENGTH, ERR_TOKEN_RANGE, ERR_EMPTY_PROMPT, ERR_NO_TOKENIZER;
   * ERR_QUEUE_FULL, ERR_OUT_OF_KV_CACHE, ERR_RANK_LOST; ERR_DISPOSED; the signal's reason when aborted.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    const generation = new ActiveGeneration();
    try {
      this.#checkOpen();
      const tokens = this.#tokens(prompt);
      const { native, samples, stop, seed, signal } = resolveSampling(options, {
        vocabSize: this.config.vocabSize,
        eosTokenIds: this.eosTokenIds,
        promptTokens: tokens.length,
        maxSequenceLength: this.maxSequenceLength,
      });
      if (stop.length > 0 && !this.tokenizer) {
        throw new ArgumentError(
          "ERR_NO_TOKENIZER",
          "`stop` is text, but this engine has no tokenizer; use `stopTokens`",
        );
      }
      generation.begin(this.#requests, {
        native: { kind: "generate", prompt: tokens, samples, sampling: native },
        sample: {
          tokenizer: this.tokenizer,
          prompt: tokens,
          stop,
          stopTokens: new Set(native.stopTokens),
          minTokens: native.minTokens,
          logprobs: native.logprobs,
        },
        seed,
        signal,
        owner: this,
      });
    } catch (error) {
      generation.reject(error);
    }
    return generation;
  }

  /**
   * Log-probability of every token of a text given those before it.
   * @throws KrakenError as generate()
   */
  async score(text: Prompt, options: ScoreOptions = {}): Promise<ScoreResult> {
    const { tokens, signal } = this.#prepare("score", text, options);
    const pieces = await collect(this.#requests, { kind: "score", prompt: tokens, samples: 1 }, signal, this);
    const values = await assemble(pieces, tokens.length, 1);
    const logprobs = Array.from(values, (value, i) => (i === 0 ? null : value));
    let sum = 0;
    for (let i = 1; i < values.length; i++) sum += values[i]!;
    return { tokens: [...tokens], logprobs, perplexity: Math.exp(-sum / (values.length - 1)) };
  }

  /**
   * Raw logits (float32, before any sampling parameter) at every position: for parity tests and research. Takes
   * rows × vocabSize × 4 bytes.
   * @throws KrakenError as generate()
   */
  async logits(prompt: Prompt, options: ScoreOptions = {}): Promise<LogitsResult> {
    const { tokens, signal } = this.#prepare("logits", prompt, options);
    const { vocabSize } = this.config;
    const pieces = await collect(
      this.#requests,
      { kind: "logits", prompt: tokens, samples: 1 },
      signal,
      this,
    );
    return { rows: tokens.length, vocabSize, data: await assemble(pieces, tokens.length, vocabSize) };
  }

  /**
   * For benchmarks: what bounds a step from below on this machine at this moment, in milliseconds of the engine's
   * clock. "prefill": the matrix products alone of a prompt of `tokens` tokens, with the engine's own packed weights,
   * on all ranks at once, every layer on all tokens and logits of one. "decode": all ranks reading all their packed
   * weights once, at once, as fast as memory gives them.
   * @throws KrakenError ERR_OPTION, ERR_CONTEXT_LENGTH, ERR_DISPOSED
   */
  async measureBound(bound: { phase: "prefill"; tokens: number } | { phase: "decode" }): Promise<number> {
    this.#checkOpen();
    if (this.manifest.backend !== "cpu") {
      throw new ArgumentError("ERR_OPTION", `backend "${this.manifest.backend}" cannot measure its bounds`);
    }
    const request: NativeRequest =
      bound.phase === "prefill"
        ? {
            kind: "products",
            prompt: new Int32Array(
              integerOption("tokens", bound.tokens, { min: 1, max: this.maxSequenceLength, fallback: 1 }),
            ),
            samples: 1,
          }
        : { kind: "weight-read", prompt: new Int32Array(1), samples: 1 };
    const [piece] = await collect(this.#requests, request, undefined, this);
    return piece!.values[0]!;
  }

  /** @throws RuntimeError ERR_DISPOSED */
  stats(): EngineStats {
    if (this.#closing) throw disposed();
    return { ...this.#executor.stats(), pending: this.#requests.size };
  }

  /**
   * Ends the engine and frees its memory; resolves when its threads have ended. What runs is cancelled and rejects
   * with ERR_DISPOSED, or with `drain` is waited for; new requests are refused at once. Calling it again is fine, and
   * without `drain` cuts a draining one short.
   */
  async dispose(options: DisposeOptions = {}): Promise<void> {
    checkKeys("dispose", options, ["drain"]);
    const drain = booleanOption("drain", options.drain, false);
    this.#accepting = false;
    if (drain && !this.#closing) await this.#requests.idle();
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** For `await using`: `dispose()` without draining. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #close(): Promise<void> {
    forgotten.unregister(this);
    this.#requests.rejectAll(disposed());
    try {
      await this.#executor.shutdown();
    } catch (error) {
      throw fromNative(error);
    } finally {
      this.#requests.clear();
    }
  }

  #checkOpen(): void {
    if (!this.#accepting) throw disposed();
  }

  #tokens(prompt: Prompt): Int32Array {
    return promptTokens(prompt, {
      tokenizer: this.tokenizer,
      vocabSize: this.config.vocabSize,
      bosTokenId: this.manifest.bosTokenId ?? this.tokenizer?.bosTokenId,
      eosTokenIds: this.eosTokenIds,
    });
  }

  #prepare(call: string, prompt: Prompt, options: ScoreOptions) {
    checkKeys(call, options, ["signal"]);
    const signal = signalOption(options.signal);
    this.#checkOpen();
    const tokens = this.#tokens(prompt);
    if (tokens.length > this.maxSequenceLength) {
      throw new ArgumentError(
        "ERR_CONTEXT_LENGTH",
        `${call}: ${tokens.length} tokens are more than the ${this.maxSequenceLength} the engine can take at once; cut the text`,
      );
    }
    return { tokens, signal };
  }
}

function disposed(): RuntimeError {
  return new RuntimeError("ERR_DISPOSED", "the engine was disposed");
}
