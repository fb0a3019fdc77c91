/**
 * One request's time in the engine: from the door to the last byte of its answer. Whatever ends it early (its client,
 * its deadline, a slow reader, the end of the server) goes one way: fail(), which cancels its generations before the
 * engine's next step.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Engine } from "../engine.js";
import type { Generation, GenerationResult } from "../generation.js";
import type { GenerateOptions } from "../sampling.js";
import { ApiError, apiErrorOf } from "./errors.js";
import { EventStream } from "./event-stream.js";
import type { ChoiceFormat, ResponseFormat } from "./formats/format.js";
import type { RequestClock } from "./metrics.js";
import type { Usage } from "./schemas/responses.js";
import type { Service } from "./service.js";
import { onSocketClose } from "./socket-close.js";
import type { RequestSpan } from "./tracing.js";

/** A request, understood: what the engine is to do, and what becomes of it. */
export interface Work {
  engine: Engine;
  prompts: readonly Int32Array[];
  /** undefined: nothing is to be generated, the prompt itself is the answer. */
  options: GenerateOptions | undefined;
  format: ResponseFormat;
  stream: boolean;
  includeUsage: boolean;
}

export class GenerationRun {
  #generations: Generation[] = [];
  #failure: ApiError | undefined;
  readonly #abort = new AbortController();
  readonly #clock: RequestClock;
  readonly #span: RequestSpan;
  #stream: EventStream | undefined;

  constructor(
    private readonly service: Service,
    private readonly request: FastifyRequest,
    private readonly reply: FastifyReply,
  ) {
    this.#clock = service.metrics.request(performance.now() - reply.elapsedTime);
    const route = request.routeOptions.url ?? "";
    this.#span = service.tracing.start(`${request.method} ${route}`, request.headers, {
      "gen_ai.request.model": service.options.modelName,
      "http.request.method": request.method,
      "http.route": route,
    });
  }

  /** Aborts when the run fails: for what it asks of the engine beside generations. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  fail(error: ApiError): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#abort.abort(error);
    for (const generation of this.#generations) generation.cancel();
  }

  /**
   * Does the work that `understand` makes of the request, and answers.
   * @returns the answer, or undefined when it was streamed
   * @throws ApiError when nothing was answered yet
   */
  async serve(understand: (run: GenerationRun) => Promise<Work>): Promise<object | undefined> {
    const { admission, options, runs } = this.service;
    let leave: () => void;
    try {
      leave = admission.enter();
    } catch (error) {
      throw this.#failed(apiErrorOf(error));
    }
    runs.add(this);
    const heedless = onSocketClose(this.request.raw.socket, () =>
      this.fail(new ApiError("ERR_CLIENT_GONE", "the client closed the connection")),
    );
    const seconds = options.deadlineSeconds;
    const deadline = setTimeout(
      () => this.fail(new ApiError("ERR_DEADLINE", `the request took longer than ${seconds} s`)),
      seconds * 1000,
    );
    try {
      const work = await understand(this);
      return await (work.stream ? this.#streamed(work) : this.#whole(work));
    } catch (thrown) {
      const error = this.#failed(this.#failure ?? this.#withRetry(apiErrorOf(thrown)));
      this.fail(error); // cancels what still runs
      if (this.#stream) endStream(this.#stream, error);
      if (!this.#stream?.started) throw error;
      return undefined;
    } finally {
      clearTimeout(deadline);
      heedless();
      runs.delete(this);
      leave();
    }
  }

  async #whole(work: Work): Promise<object> {
    const results = await this.#generate(work, () => {});
    const choices = choicesOf(work).map((choice, i) => choice.whole(sampleOf(results, work, i)));
    return work.format.whole(choices, this.#succeeded(work, results));
  }

  async #streamed(work: Work): Promise<undefined> {
    const { keepAliveSeconds, maxUnsentBytes, readSeconds } = this.service.options;
    const stream = new EventStream(this.reply, {
      keepAliveSeconds,
      maxUnsentBytes,
      readSeconds,
      onSlow: (why) => this.fail(new ApiError("ERR_SLOW_READER", why)),
    });
    this.#stream = stream;
    const send = (data: string | undefined) => {
      if (data !== undefined) stream.send(data);
    };
    const choices = choicesOf(work);
    const begun = new Set<number>();
    const begin = (index: number) => {
      if (begun.has(index)) return;
      begun.add(index);
      send(choices[index]!.begin());
    };
    const results = await this.#generate(work, (index, event) => {
      begin(index);
      send(choices[index]!.token(event));
    });
    for (const [index, choice] of choices.entries()) {
      begin(index);
      send(choice.end(sampleOf(results, work, index).finishReason));
    }
    const usage = this.#succeeded(work, results);
    if (work.includeUsage) send(work.format.usage(usage));
    send("[DONE]");
    stream.end();
    return undefined;
  }

  /** Runs every prompt at once and hands on each token. @throws the first failure */
  async #generate(
    { engine, prompts, options }: Work,
    onToken: (index: number, event: Parameters<ChoiceFormat["token"]>[0]) => void,
  ): Promise<GenerationResult[]> {
    this.#throwIfFailed();
    if (!options) return prompts.map(emptyResult);
    const n = options.n ?? 1;
    this.#generations = prompts.map((prompt) => engine.generate(prompt, options));
    const results = await Promise.all(
      this.#generations.map(async (generation, at) => {
        for await (const event of generation) {
          if (this.#failure) break;
          const index = at * n + event.sample;
          if (event.token >= 0) this.#clock.token(index);
          onToken(index, event);
        }
        return generation;
      }),
    );
    this.#throwIfFailed();
    // Nobody here cancelled: the engine was disposed of by whoever owns it.
    if (results.some((result) => (result.samples ?? [result]).some((s) => s.finishReason === "cancelled"))) {
      throw new ApiError("ERR_DISPOSED", "the engine was disposed");
    }
    return results;
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure;
  }

  /** The queue is the engine's, the advice when to come back the server's. */
  #withRetry(error: ApiError): ApiError {
    if (error.status !== 429) return error;
    const headers = { ...this.service.admission.retryAfter(), ...error.headers };
    return new ApiError(error.code, error.message, { headers, cause: error.cause });
  }

  #succeeded(work: Work, results: readonly GenerationResult[]): Usage {
    if (work.options) this.#clock.succeeded(results);
    const prompt_tokens = sum(work.prompts, (prompt) => prompt.length);
    const samples = results.flatMap((result) => result.samples ?? [result]);
    const completion_tokens = sum(samples, (sample) => sample.tokens.length);
    this.#tell({ promptTokens: prompt_tokens, outputTokens: completion_tokens });
    this.#span.end({
      "gen_ai.usage.input_tokens": prompt_tokens,
      "gen_ai.usage.output_tokens": completion_tokens,
      ...this.#latency("gen_ai.latency.time_to_first_token", 1 / 1000),
    });
    return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
  }

  #failed(error: ApiError): ApiError {
    if (error.code === "ERR_RANK_LOST") this.service.host.stats(); // notices at once
    this.#clock.failed(error);
    this.#tell({ code: error.code });
    this.#span.end(this.#latency("gen_ai.latency.time_to_first_token", 1 / 1000), error);
    return error;
  }

  /** For the request's line in the log. */
  #tell(outcome: Record<string, string | number>): void {
    this.request.outcome = { ...outcome, ...this.#latency("ttftMs", 1) };
  }

  #latency(name: string, factor: number): Record<string, number> {
    const { ttftMs } = this.#clock;
    return Number.isNaN(ttftMs) ? {} : { [name]: ttftMs * factor };
  }
}

/** Where headers are out, the failure is the stream's last event, and no [DONE] follows. */
function endStream(stream: EventStream, error: ApiError): void {
  if (!stream.started) {
    stream.end();
  } else if (error.code === "ERR_CLIENT_GONE" || error.code === "ERR_SLOW_READER") {
    stream.destroy();
  } else {
    stream.send(JSON.stringify(error.body()));
    stream.end();
  }
}

const sum = <T>(values: readonly T[], of: (value: T) => number): number =>
  values.reduce((total, value) => total + of(value), 0);

function choicesOf({ format, prompts, options }: Work): ChoiceFormat[] {
  return Array.from({ length: prompts.length * (options?.n ?? 1) }, (_, index) => format.choice(index));
}

/** Choices are all continuations of the first prompt, then those of the second. */
function sampleOf(results: readonly GenerationResult[], { options }: Work, index: number) {
  const n = options?.n ?? 1;
  const result = results[Math.floor(index / n)]!;
  return result.samples?.[index % n] ?? result;
}

const emptyResult = (prompt: Int32Array): GenerationResult => ({
  text: "",
  tokens: [],
  finishReason: "length",
  promptTokens: prompt.length,
  cachedTokens: 0,
  seed: 0,
  timing: {
    ttftMs: Number.NaN,
    engineTtftMs: Number.NaN,
    queueMs: Number.NaN,
    decodeMsPerToken: Number.NaN,
    totalMs: Number.NaN,
    preemptions: 0,
  },
});
