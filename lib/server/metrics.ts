/**
 * Prometheus metrics. Names are vLLM's, and trtllm-serve's where that has another, with the prefix kraken_, so that
 * dashboards carry over. Buckets begin at 1 ms: time to first token is what this engine is for.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { GenerationResult } from "../generation.js";
import { waysOf } from "../model-config.js";
import { version } from "../version.js";
import type { EngineHost } from "./engine-host.js";
import type { ApiError } from "./errors.js";
import type { ResolvedOptions } from "./options.js";

const secondsBuckets = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640,
];
const perTokenBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10, 40,
];
const tokensBuckets = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

export class Metrics {
  readonly registry = new Registry();

  readonly timeToFirstToken = this.#histogram(
    "time_to_first_token_seconds",
    "From a request's arrival to its first token.",
    secondsBuckets,
  );
  readonly interTokenLatency = this.#histogram(
    "inter_token_latency_seconds",
    "From one token of a continuation to its next.",
    perTokenBuckets,
  );
  readonly timePerOutputToken = this.#histogram(
    "time_per_output_token_seconds",
    "Mean time per token after the first, of each request.",
    perTokenBuckets,
  );
  readonly endToEnd = this.#histogram(
    "e2e_request_latency_seconds",
    "From a request's arrival to its end.",
    secondsBuckets,
  );
  readonly queueTime = this.#histogram(
    "request_queue_time_seconds",
    "Waiting for the engine.",
    secondsBuckets,
  );
  readonly prefillTime = this.#histogram(
    "request_prefill_time_seconds",
    "From the first step of a request to its first token.",
    secondsBuckets,
  );
  readonly decodeTime = this.#histogram(
    "request_decode_time_seconds",
    "From the first token to the last.",
    secondsBuckets,
  );
  readonly inferenceTime = this.#histogram(
    "request_inference_time_seconds",
    "Prefill and decode together.",
    secondsBuckets,
  );
  readonly requestPromptTokens = this.#histogram(
    "request_prompt_tokens",
    "Tokens of a prompt.",
    tokensBuckets,
  );
  readonly requestGenerationTokens = this.#histogram(
    "request_generation_tokens",
    "Tokens of an output.",
    tokensBuckets,
  );
  readonly success = this.#counter("request_success_total", "Continuations that ended.", "finished_reason");
  readonly error = this.#counter("request_error_total", "Requests that failed, by our code.", "code");
  readonly cancelled = this.#counter(
    "request_cancelled_total",
    "Requests that were cancelled, and why.",
    "code",
  );
  readonly http = this.#counter("http_requests_total", "Answers, by route and status.", "route", "status");

  readonly #running = this.#gauge("num_requests_running", "Sequences in the engine's steps.");
  readonly #waiting = this.#gauge("num_requests_waiting", "Requests in the engine's queue.");
  readonly #inside = this.#gauge("num_http_requests", "Generating requests in the server.");
  readonly #cacheUse = [
    this.#gauge("kv_cache_usage_perc", "Part of the key/value blocks in use; 1 is all (vLLM's name)."),
    this.#gauge("kv_cache_utilization", "The same (trtllm-serve's name)."),
  ];
  readonly #promptTokens = this.#counter("prompt_tokens_total", "Prompt tokens computed.");
  readonly #generationTokens = this.#counter("generation_tokens_total", "Tokens generated.");
  readonly #prefixQueries = this.#counter(
    "prefix_cache_queries_total",
    "Prompt tokens looked up in the cache.",
  );
  readonly #prefixHits = this.#counter("prefix_cache_hits_total", "Of these, tokens that were in it.");
  readonly #preemptions = this.#counter("num_preemptions_total", "Sequences set back for want of memory.");
  readonly #steps = this.#counter("engine_steps_total", "Steps of the engine.");
  readonly #stepSeconds = this.#counter("engine_step_seconds_total", "Time in steps.");
  readonly #exchanges = this.#counter("all_reduce_total", "All-reduces that each rank took part in.");
  readonly #allReduce = this.#counter(
    "all_reduce_seconds_total",
    "From the start of each all-reduce to its arrival, hidden or not.",
    "rank",
  );
  readonly #hidden = this.#counter(
    "all_reduce_hidden_seconds_total",
    "Of these, time in which the rank did something else.",
    "rank",
  );
  readonly #exposed = this.#counter(
    "all_reduce_exposed_seconds_total",
    "Time ranks waited for all-reduces: what nothing hid.",
    "rank",
  );
  readonly #alive = this.#gauge("rank_alive", "1 while the rank lives.", "rank");
  readonly #reloads = this.#counter("engine_reloads_total", "How often a lost engine was loaded again.");
  readonly #info = this.#gauge(
    "engine_info",
    "Always 1; what runs, as labels.",
    "version",
    "architecture",
    "ways",
    "ranks",
    "backend",
    "dtype",
  );
  readonly #cacheInfo = this.#gauge(
    "cache_config_info",
    "Always 1; the cache, as labels.",
    "block_size",
    "blocks",
  );

  constructor(
    private readonly host: EngineHost,
    private readonly requestsInside: () => number,
    { modelName, processMetrics }: ResolvedOptions,
  ) {
    this.registry.setDefaultLabels({ model_name: modelName });
    if (processMetrics) collectDefaultMetrics({ register: this.registry });
  }

  /** The exposition text. */
  text(): Promise<string> {
    this.#refresh();
    return this.registry.metrics();
  }

  /** Clocks one request. */
  request(arrived: number): RequestClock {
    return new RequestClock(this, arrived);
  }

  #refresh(): void {
    const { host } = this;
    const { manifest, config } = host.description;
    const stats = host.stats();
    const { ranksAlive } = host.health();
    for (let rank = 0; rank < manifest.ranks; rank++) this.#alive.set({ rank }, rank < ranksAlive ? 1 : 0);
    set(this.#reloads, host.reloads);
    this.#inside.set(this.requestsInside());
    this.#info.set(
      {
        version,
        architecture: config.architecture,
        ways: waysOf(config),
        ranks: manifest.ranks,
        backend: manifest.backend,
        dtype: manifest.dtype,
      },
      1,
    );
    if (!stats) return;
    this.#running.set(stats.running);
    this.#waiting.set(stats.waiting);
    for (const gauge of this.#cacheUse)
      gauge.set(stats.kvBlocks > 0 ? stats.kvBlocksUsed / stats.kvBlocks : 0);
    this.#cacheInfo.set({ block_size: stats.kvBlockTokens, blocks: stats.kvBlocks }, 1);
    set(this.#promptTokens, stats.promptTokens);
    set(this.#generationTokens, stats.generatedTokens);
    set(this.#prefixQueries, stats.prefixQueryTokens);
    set(this.#prefixHits, stats.prefixHitTokens);
    set(this.#preemptions, stats.preemptions);
    set(this.#steps, stats.steps);
    set(this.#stepSeconds, stats.stepMsTotal / 1000);
    set(this.#exchanges, stats.exchanges);
    setRanks(this.#allReduce, stats.collectiveMs);
    setRanks(this.#hidden, stats.hiddenMs);
    setRanks(this.#exposed, stats.exposedMs);
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `kraken_${name}`, help, buckets, registers: [this.registry] });
  }

  #counter<L extends string>(name: string, help: string, ...labelNames: L[]): Counter<L> {
    return new Counter({ name: `kraken_${name}`, help, labelNames, registers: [this.registry] });
  }

  #gauge<L extends string>(name: string, help: string, ...labelNames: L[]): Gauge<L> {
    return new Gauge({ name: `kraken_${name}`, help, labelNames, registers: [this.registry] });
  }
}

/** The engine counts; here is only shown what it says. A lost engine's successor begins at 0, as a restart would. */
function set(counter: Counter, value: number): void {
  counter.reset();
  counter.inc(value);
}

function setRanks(counter: Counter<"rank">, milliseconds: readonly number[]): void {
  counter.reset();
  for (const [rank, ms] of milliseconds.entries()) counter.inc({ rank }, ms / 1000);
}

/** One request's times, as its tokens come. */
export class RequestClock {
  /** Milliseconds from the request's arrival to its first token; NaN before. */
  ttftMs = Number.NaN;
  /** When each continuation had its last token. */
  readonly #last = new Map<number, number>();

  constructor(
    private readonly metrics: Metrics,
    private readonly arrived: number,
  ) {}

  token(choice: number): void {
    const now = performance.now();
    const last = this.#last.get(choice);
    this.#last.set(choice, now);
    if (last !== undefined) this.metrics.interTokenLatency.observe((now - last) / 1000);
    if (!Number.isNaN(this.ttftMs)) return;
    this.ttftMs = now - this.arrived;
    this.metrics.timeToFirstToken.observe(this.ttftMs / 1000);
  }

  succeeded(results: readonly GenerationResult[]): void {
    const { metrics } = this;
    metrics.endToEnd.observe((performance.now() - this.arrived) / 1000);
    for (const { timing, promptTokens, samples, ...first } of results) {
      const { ttftMs, engineTtftMs, queueMs, totalMs, decodeMsPerToken } = timing;
      observe(metrics.queueTime, queueMs);
      observe(metrics.prefillTime, engineTtftMs - queueMs);
      observe(metrics.decodeTime, totalMs - ttftMs);
      observe(metrics.inferenceTime, totalMs - queueMs);
      observe(metrics.timePerOutputToken, decodeMsPerToken);
      metrics.requestPromptTokens.observe(promptTokens);
      for (const { tokens, finishReason } of samples ?? [first]) {
        metrics.requestGenerationTokens.observe(tokens.length);
        metrics.success.inc({ finished_reason: finishReason });
      }
    }
  }

  failed({ code, status }: ApiError): void {
    const gone = status === 499 || code === "ERR_SLOW_READER" || code === "ERR_SHUTTING_DOWN";
    (gone ? this.metrics.cancelled : this.metrics.error).inc({ code });
  }
}

/** Milliseconds, where there are any. */
function observe(histogram: Histogram, milliseconds: number): void {
  if (!Number.isNaN(milliseconds)) histogram.observe(Math.max(0, milliseconds) / 1000);
}
