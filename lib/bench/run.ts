/** Runs a grid: for each setting checks, builds and loads its engines, then measures one cell after another. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withIoErrors } from "../io-error.js";
import { parameterCount } from "../model-config.js";
import { type CellProgress, type Contestant, runCell } from "./cell.js";
import { Checker, failureOf } from "./check.js";
import {
  type BenchRecord,
  type CellRecord,
  cellKey,
  type Environment,
  formatName,
  formatVersion,
  type VariantRecord,
} from "./document.js";
import { EngineSet, placesOf } from "./engines.js";
import { type CellCost, roundWork, secondsLeft } from "./estimate.js";
import type { GridPlan, Setting, Variant } from "./grid.js";
import type { Phase } from "./options.js";
import { sharedSignal } from "./signal.js";

export interface BenchProgress {
  stage: "check" | "load" | CellProgress["stage"];
  /** The cell, or the setting whose engines are checked and loaded. */
  what: string;
  /** Cells that are done, and all of them. */
  done: number;
  cells: number;
  round?: number;
  expectedRounds?: number;
  widestInterval?: number | null;
  /** undefined until something was timed. */
  secondsLeft?: number | undefined;
}

export interface RunOptions {
  phase: Phase;
  environment: Environment;
  /** Cells that were measured before, and are kept. */
  earlier?: readonly CellRecord[] | undefined;
  /** Aborting ends the run early; what was measured is returned. */
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: BenchProgress) => void) | undefined;
  /** After every cell: what there is so far. */
  onCell?: ((record: BenchRecord) => Promise<void>) | undefined;
}

interface Cell {
  setting: Setting;
  context: number;
  batch: number;
}

const recordOf = ({ label, model, config, role, ranks, threadsPerRank }: Variant): VariantRecord => ({
  label,
  model,
  architecture: config.architecture,
  config,
  parameters: parameterCount(config),
  role,
  ranks,
  threadsPerRank,
});

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

class GridRun {
  readonly #plan: GridPlan;
  readonly #options: RunOptions;
  readonly #cells: readonly Cell[];
  readonly #missing: readonly Cell[];
  readonly record: BenchRecord;

  constructor(plan: GridPlan, options: RunOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#cells = plan.list.flatMap((setting) =>
      plan.settings.batch.flatMap((batch) =>
        setting.contexts.map((context) => ({ setting, batch, context })),
      ),
    );
    const earlier = options.earlier ?? [];
    const keys = new Set(earlier.map(cellKey));
    this.#missing = this.#cells.filter((cell) => !keys.has(this.#name(cell)));
    this.record = {
      format: formatName,
      formatVersion,
      startedAt: new Date().toISOString(),
      phase: options.phase,
      complete: false,
      settings: plan.settings,
      environment: options.environment,
      cells: [...earlier],
    };
  }

  async run(): Promise<BenchRecord> {
    const root = await withIoErrors("make a temporary directory", () =>
      mkdtemp(join(tmpdir(), "kraken-bench-")),
    );
    try {
      for (const setting of this.#plan.list) await this.#setting(setting, root);
      this.record.complete = this.record.cells.every((cell) => cell.stopped !== "interrupted");
    } catch (error) {
      if (!this.#options.signal?.aborted) throw error;
    } finally {
      await rm(root, { recursive: true, force: true });
    }
    return this.record;
  }

  /** Loads what the cells of a setting need, unless all of them are known. */
  async #setting(setting: Setting, root: string): Promise<void> {
    const missing = this.#missing.filter((cell) => cell.setting === setting);
    if (missing.length === 0) return;
    const directory = join(root, `setting${this.#plan.list.indexOf(setting)}`);
    await mkdir(directory);
    const contestants: Contestant[] = [];
    const failures: VariantRecord[] = [];
    try {
      await this.#load(setting, directory, contestants, failures);
      for (const cell of missing) await this.#cell(cell, contestants, failures);
    } finally {
      for (const { engine } of contestants) await engine.dispose();
      await rm(directory, { recursive: true, force: true });
    }
  }

  async #load(
    setting: Setting,
    directory: string,
    contestants: Contestant[],
    failures: VariantRecord[],
  ): Promise<void> {
    const { signal } = this.#options;
    const { settings } = this.#plan;
    const checker = new Checker(directory, setting.dtype, settings.backend, (ranks) =>
      placesOf({ ranks }, settings),
    );
    const engines = new EngineSet(directory, setting, settings);
    for (const variant of setting.variants) {
      signal?.throwIfAborted();
      const record = recordOf(variant);
      const what = `${setting.comparison}, ${variant.label}`;
      try {
        if (variant.role !== "bound") {
          this.#tell({ stage: "check", what });
          record.check = await checker.check(variant, signal);
          const failure = failureOf(record.check);
          if (failure !== undefined) throw new Error(failure);
        }
        this.#tell({ stage: "load", what });
        contestants.push({ record, engine: await engines.load(variant, signal) });
      } catch (error) {
        signal?.throwIfAborted();
        failures.push({ ...record, failure: messageOf(error) });
      }
    }
  }

  async #cell(cell: Cell, contestants: readonly Contestant[], failures: readonly VariantRecord[]) {
    const { phase, signal } = this.#options;
    const { settings } = this.#plan;
    const { batch, context, setting } = cell;
    signal?.throwIfAborted();
    // A variant that fails in one cell may do in another.
    const present = contestants.map(({ record, engine }) => ({ record: { ...record }, engine }));
    const outcome = await runCell({
      batch,
      context,
      phase,
      settings,
      baseline: setting.baseline,
      contestants: present,
      signal,
      onProgress: (progress) => this.#measured(cell, progress),
    });
    const variants = [...present.map(({ record }) => record), ...failures];
    this.record.cells.push({ ...this.#identity(cell), baseline: setting.baseline, ...outcome, variants });
    const order = this.#cells.map(this.#name);
    this.record.cells.sort((a, b) => order.indexOf(cellKey(a)) - order.indexOf(cellKey(b)));
    await this.#options.onCell?.(this.record);
  }

  #measured(cell: Cell, progress: CellProgress): void {
    const { stage, round, expectedRounds, secondsPerRound, widestInterval } = progress;
    const { warmup, maxSeconds } = this.#plan.settings;
    const costOf = (one: Cell, rounds: number, seconds = 0): CellCost => ({
      work: roundWork(one.batch, one.context, this.#plan.settings.outputTokens),
      secondsPerRound: seconds,
      rounds,
    });
    const following = this.#missing.slice(this.#missing.indexOf(cell) + 1);
    this.#tell({
      stage,
      what: this.#name(cell),
      round,
      expectedRounds,
      widestInterval,
      secondsLeft: secondsLeft(
        costOf(cell, expectedRounds - round, secondsPerRound),
        following.map((one) => costOf(one, expectedRounds + warmup + 1)),
        maxSeconds,
      ),
    });
  }

  #tell(progress: Omit<BenchProgress, "done" | "cells">): void {
    const { cells } = this.record;
    this.#options.onProgress?.({ ...progress, done: cells.length, cells: this.#cells.length });
  }

  #identity({ setting, batch, context }: Cell) {
    const { backend, link, hosts, mpi } = this.#plan.settings;
    const { comparison, ranks, dtype } = setting;
    return { comparison, ranks, dtype, backend, link: hosts ?? mpi ?? link, batch, context };
  }

  readonly #name = (cell: Cell) => cellKey(this.#identity(cell));
}

/**
 * @returns what was measured; `complete` is false if it was interrupted
 * @throws KrakenError ERR_IO; a variant that fails is reported in the record
 */
export async function runGrid(plan: GridPlan, options: RunOptions): Promise<BenchRecord> {
  return new GridRun(plan, { ...options, signal: sharedSignal(options.signal) }).run();
}
