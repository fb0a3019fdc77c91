/**
 * The engine behind the server: whether it is well, and another one when it is lost. An engine that lost a rank never
 * serves again; what is in flight rejects by itself, so this only has to notice, say so, and load the next.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import type { Engine, EngineStats } from "../engine.js";
import { ApiError } from "./errors.js";
import type { ResolvedOptions } from "./options.js";

export interface Health {
  status: "ok" | "lost" | "reloading" | "stalled" | "draining";
  /** Why it is not ok. */
  reason?: string;
  /** Ranks that are alive, of `ranks`. They live and die together. */
  ranksAlive: number;
  ranks: number;
}

/** How often a lost rank is looked for while nobody asks. A request that meets one tells at once. */
const watchMs = 1000;
const longestPauseMs = 30_000;

export class EngineHost {
  #engine: Engine;
  /** Why the engine is lost; undefined while it is not. */
  #lost: string | undefined;
  #draining = false;
  #closed = new AbortController();
  /** Engines that this loaded, and must dispose of. */
  #owned = new Set<Engine>();
  #reloading: Promise<void> | undefined;
  #reloads = 0;
  #progress = { steps: -1, at: performance.now() };
  readonly #watch: NodeJS.Timeout;

  constructor(
    engine: Engine,
    private readonly options: ResolvedOptions,
    private readonly log: Logger,
  ) {
    this.#engine = engine;
    this.#watch = setInterval(() => this.stats(), watchMs);
    this.#watch.unref();
  }

  /** The engine, for requests. @throws ApiError ERR_RANK_LOST, ERR_SHUTTING_DOWN */
  get engine(): Engine {
    if (this.#draining) throw new ApiError("ERR_SHUTTING_DOWN", "the server is shutting down");
    if (this.#lost !== undefined) {
      const headers: Record<string, string> = this.options.reload ? { "retry-after": "1" } : {};
      throw new ApiError("ERR_RANK_LOST", this.#lost, { headers });
    }
    return this.#engine;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** The engine as it was last, whatever its state: for what it is, not for work. */
  get description(): Engine {
    return this.#engine;
  }

  /** How often another engine was loaded. */
  get reloads(): number {
    return this.#reloads;
  }

  /** The engine's counts, undefined when it has none any more. Notices on the way whether it is well. */
  stats(): EngineStats | undefined {
    let stats: EngineStats;
    try {
      stats = this.#engine.stats();
    } catch {
      return undefined; // disposed of by whoever gave it
    }
    if (stats.closed !== "" && this.#lost === undefined) this.#lose(stats.closed);
    const idle = stats.running + stats.waiting === 0;
    if (idle || stats.steps !== this.#progress.steps) {
      this.#progress = { steps: stats.steps, at: performance.now() };
    }
    return stats;
  }

  health(): Health {
    const stats = this.stats();
    const { ranks } = this.#engine.manifest;
    const alive = this.#lost === undefined && stats !== undefined;
    const counts = { ranksAlive: alive ? ranks : 0, ranks };
    if (this.#draining) return { status: "draining", reason: "the server is shutting down", ...counts };
    if (this.#lost !== undefined) {
      return { status: this.options.reload ? "reloading" : "lost", reason: this.#lost, ...counts };
    }
    if (!stats) return { status: "lost", reason: "the engine was disposed", ...counts };
    const silent = (performance.now() - this.#progress.at) / 1000;
    if (silent > this.options.stallSeconds) {
      return {
        status: "stalled",
        reason: `requests run, but no step ended for ${silent.toFixed(0)} s`,
        ...counts,
      };
    }
    return { status: "ok", ...counts };
  }

  /** From now on requests are refused. */
  drain(): void {
    this.#draining = true;
  }

  /** Ends the watch, and every engine that this loaded. */
  async close(): Promise<void> {
    this.#draining = true;
    clearInterval(this.#watch);
    this.#closed.abort();
    await this.#reloading;
    await Promise.all([...this.#owned].map((engine) => engine.dispose()));
  }

  #lose(reason: string): void {
    this.#lost = reason;
    this.log.error({ reason }, "the engine is lost");
    const { onEngineLost, reload } = this.options;
    // After the rejections of what was in flight, which may be on their way.
    if (onEngineLost) setImmediate(onEngineLost, reason);
    if (reload && !this.#closed.signal.aborted) this.#reloading = this.#reload(reload);
  }

  async #reload(load: () => Promise<Engine>): Promise<void> {
    const lost = this.#engine;
    for (let pauseMs = 0; ; pauseMs = Math.min(longestPauseMs, Math.max(500, pauseMs * 2))) {
      try {
        await sleep(pauseMs, undefined, { signal: this.#closed.signal });
      } catch {
        return;
      }
      try {
        const engine = await load();
        this.#owned.add(engine);
        this.#engine = engine;
        break;
      } catch (error) {
        this.log.error({ err: error }, "the engine could not be loaded again");
      }
    }
    if (this.#owned.delete(lost)) await lost.dispose().catch(() => {});
    this.#progress = { steps: -1, at: performance.now() };
    this.#lost = undefined;
    this.#reloads++;
    this.log.info("the engine is loaded again");
  }
}
