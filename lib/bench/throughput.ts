/**
 * Serves a stream of requests with one model after another: the same prompts at the same moments for each. Requests
 * come whether or not earlier ones are done, and a request's clock starts when it was due.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "../engine.js";
import { withIoErrors } from "../io-error.js";
import { integerOption, optionError } from "../options.js";
import { type Arrival, arrivalTimes, parseGoodput } from "./arrivals.js";
import { Checker, failureOf } from "./check.js";
import type { Environment } from "./document.js";
import { EngineSet, placesOf } from "./engines.js";
import { planGrid, type Setting, type Variant } from "./grid.js";
import { randomPrompts } from "./measure.js";
import { type BenchOptions, resolveBench, type Settings } from "./options.js";
import { sharedSignal } from "./signal.js";
import type {
  RequestRecord,
  ThroughputRecord,
  ThroughputRun,
  ThroughputSettings,
} from "./throughput-record.js";

type Shared =
  | "models"
  | "architectures"
  | "ranks"
  | "dtype"
  | "backend"
  | "link"
  | "hosts"
  | "launchAgent"
  | "threads"
  | "ways"
  | "layersFraction"
  | "seed";

export interface ThroughputOptions extends Pick<BenchOptions, Shared> {
  /** Prompt tokens of each request; default 128. */
  context?: number | undefined;
  /** Default 32. */
  outputTokens?: number | undefined;
  /** Default 64. */
  requests?: number | undefined;
  /** Requests a second; null: all at once, the default. */
  rates?: readonly (number | null)[] | undefined;
  /** Default "poisson". */
  arrival?: Arrival | undefined;
  /** Sequences that run at once; default 8. */
  maxBatchSize?: number | undefined;
  /** Limits of a good request, "ttft:200,tpot:50". */
  goodput?: string | undefined;
}

export interface ThroughputPlan {
  settings: ThroughputSettings;
  grid: Settings;
  list: Setting[];
}

/**
 * What will be run.
 * @throws KrakenError as planGrid()
 */
export async function planThroughput(options: ThroughputOptions): Promise<ThroughputPlan> {
  const { requests, rates = [null], arrival = "poisson", maxBatchSize, goodput, ...rest } = options;
  const bad = rates.find((rate) => rate !== null && !(rate > 0 && Number.isFinite(rate)));
  if (bad !== undefined || rates.length === 0) throw optionError("rates", "positive numbers", bad ?? rates);
  const context = integerOption("context", rest.context, { min: 1, fallback: 128 });
  const outputTokens = integerOption("outputTokens", rest.outputTokens, {
    min: 1,
    max: 1 << 20,
    fallback: 32,
  });
  const batch = integerOption("maxBatchSize", maxBatchSize, { min: 1, max: 4096, fallback: 8 });
  const grid = resolveBench("prefill", { ...rest, context: [context], outputTokens, batch: [batch] });
  const { list } = await planGrid(grid);
  const { models, link, hosts, backend, threads, seed } = grid;
  return {
    settings: {
      ...{ models, link, hosts, backend, threads, seed, context, outputTokens, arrival },
      requests: integerOption("requests", requests, { min: 1, max: 1_000_000, fallback: 64 }),
      rates: [...new Set(rates)],
      maxBatchSize: batch,
      goodput: goodput === undefined ? null : parseGoodput(goodput),
    },
    grid,
    list,
  };
}

export interface ThroughputProgress {
  what: string;
  /** Runs that are done, and all of them. */
  done: number;
  runs: number;
  /** Requests of this run that are done; undefined while its engine is checked and loaded. */
  finished?: number;
}

export interface ThroughputHooks {
  environment: Environment;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: ThroughputProgress) => void) | undefined;
}

async function serveOne(
  engine: Engine,
  prompt: number[],
  startedAt: number,
  dueAt: number,
  { outputTokens }: ThroughputSettings,
  signal: AbortSignal | undefined,
): Promise<RequestRecord> {
  const due = startedAt + 1000 * dueAt;
  const at: number[] = [];
  const run = engine.generate(prompt, { maxTokens: outputTokens, temperature: 0, ignoreEos: true, signal });
  for await (const event of run) if (event.token >= 0) at.push(performance.now());
  const { promptTokens } = await run;
  return {
    dueAt,
    promptTokens,
    outputTokens: at.length,
    ttftMs: at[0]! - due,
    interTokenMs: at.slice(1).map((time, i) => time - at[i]!),
    endToEndMs: at.at(-1)! - due,
  };
}

/** Sends every request when it is due. @throws the signal's reason */
export async function serve(
  engine: Engine,
  rate: number | null,
  settings: ThroughputSettings,
  hooks: Pick<ThroughputHooks, "signal"> & { onFinished?: (count: number) => void } = {},
): Promise<Pick<ThroughputRun, "seconds" | "latestMs" | "requests" | "errors">> {
  const { requests: count, context, arrival, seed } = settings;
  const { signal, onFinished } = hooks;
  const prompts = randomPrompts(count, context, engine.config.vocabSize, seed);
  const due = arrivalTimes(count, rate, arrival, seed);
  const requests: RequestRecord[] = [];
  const errors: string[] = [];
  let latestMs = 0;
  const startedAt = performance.now();
  const running: Promise<void>[] = [];
  for (const [i, dueAt] of due.entries()) {
    // Timers may fire early, and a request before its time would have waited less than nothing.
    for (let early = 1; early > 0; ) {
      early = startedAt + 1000 * dueAt - performance.now();
      if (early > 0) await sleep(Math.ceil(early), undefined, { signal });
    }
    latestMs = Math.max(latestMs, performance.now() - startedAt - 1000 * dueAt);
    const served = serveOne(engine, prompts[i]!, startedAt, dueAt, settings, signal).then(
      (record) => {
        requests.push(record);
        onFinished?.(requests.length + errors.length);
      },
      (error: unknown) => {
        errors.push(error instanceof Error ? error.message : String(error));
      },
    );
    running.push(served);
  }
  await Promise.all(running);
  signal?.throwIfAborted();
  return { seconds: (performance.now() - startedAt) / 1000, latestMs, requests, errors };
}

class ThroughputGrid {
  readonly record: ThroughputRecord;
  readonly #runs: number;

  constructor(
    private readonly plan: ThroughputPlan,
    private readonly hooks: ThroughputHooks,
  ) {
    const main = plan.list.flatMap(({ variants }) => variants.filter(({ role }) => role === "main"));
    this.#runs = main.length * plan.settings.rates.length;
    this.record = {
      format: "kraken-bench-throughput",
      formatVersion: 1,
      startedAt: new Date().toISOString(),
      complete: false,
      settings: plan.settings,
      environment: hooks.environment,
      runs: [],
    };
  }

  async run(): Promise<ThroughputRecord> {
    const root = await withIoErrors("make a temporary directory", () =>
      mkdtemp(join(tmpdir(), "kraken-bench-")),
    );
    try {
      for (const [index, setting] of this.plan.list.entries()) {
        const directory = join(root, String(index));
        await mkdir(directory);
        const engines = new EngineSet(directory, setting, this.plan.grid);
        const { grid } = this.plan;
        const checker = new Checker(directory, setting.dtype, grid.backend, (ranks) =>
          placesOf({ ranks }, grid),
        );
        for (const variant of setting.variants.filter(({ role }) => role === "main")) {
          await this.#variant(setting, variant, engines, checker);
        }
        await rm(directory, { recursive: true });
      }
      this.record.complete = true;
    } catch (error) {
      if (!this.hooks.signal?.aborted) throw error;
    } finally {
      await rm(root, { recursive: true, force: true });
    }
    return this.record;
  }

  async #variant(setting: Setting, variant: Variant, engines: EngineSet, checker: Checker): Promise<void> {
    const { signal } = this.hooks;
    const { settings } = this.plan;
    const { label, model, config, ranks, threadsPerRank } = variant;
    const what = `${setting.comparison}, ${label}, ${ranks} rank${ranks === 1 ? "" : "s"}`;
    const { comparison, dtype } = setting;
    const common = { comparison, label, model, config, ranks, threadsPerRank, dtype };
    const nothing = { seconds: 0, latestMs: 0, requests: [], errors: [] };
    this.#tell(what);
    let check: ThroughputRun["check"];
    try {
      check = await checker.check(variant, signal);
      const failure = failureOf(check);
      if (failure !== undefined) throw new Error(failure);
      await using engine = await engines.load(variant, signal);
      await serve(engine, null, { ...settings, requests: settings.maxBatchSize }, { signal });
      for (const rate of settings.rates) {
        const onFinished = (finished: number) => this.#tell(what, finished);
        const served = await serve(engine, rate, settings, { signal, onFinished });
        this.record.runs.push({ ...common, rate, check, ...served });
      }
    } catch (error) {
      signal?.throwIfAborted();
      const failure = error instanceof Error ? error.message : String(error);
      this.record.runs.push({ ...common, rate: null, ...(check && { check }), failure, ...nothing });
    }
  }

  #tell(what: string, finished?: number): void {
    const { runs } = this.record;
    this.hooks.onProgress?.({
      what,
      done: runs.length,
      runs: this.#runs,
      ...(finished !== undefined && { finished }),
    });
  }
}

/** @returns what was measured; `complete` is false if it was interrupted */
export async function runThroughput(plan: ThroughputPlan, hooks: ThroughputHooks): Promise<ThroughputRecord> {
  return new ThroughputGrid(plan, { ...hooks, signal: sharedSignal(hooks.signal) }).run();
}
