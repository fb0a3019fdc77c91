/**
 * Measures one cell: its variants take turns, in another random order each round, until every interval is narrow or
 * rounds or time are used up.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "../engine.js";
import { median, randomNumbers, ratioOfMedians } from "../report/statistics.js";
import type { PhaseRecord, Stop, VariantRecord } from "./document.js";
import { decode, prefill, randomPrompts, type Sample } from "./measure.js";
import type { Phase, Settings } from "./options.js";

/** Compute threads of the engine that was last may still spin for a moment. */
const settleMs = 2;
/** Enough to decide whether to go on; reports redraw more often. */
const resamples = 300;

export interface Contestant {
  record: VariantRecord;
  engine: Engine;
}

export interface CellProgress {
  stage: "warm-up" | "measure";
  round: number;
  /** Rounds that will probably be needed. */
  expectedRounds: number;
  secondsPerRound: number;
  widestInterval: number | null;
}

export interface CellRun {
  batch: number;
  context: number;
  phase: Phase;
  settings: Settings;
  /** Label of the one that speed-ups are over. */
  baseline: string;
  contestants: readonly Contestant[];
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: CellProgress) => void) | undefined;
}

export interface CellOutcome {
  rounds: number;
  seconds: number;
  stopped: Stop;
  widestInterval: number | null;
}

/** Fisher and Yates. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Where the baseline is among what is left of a cell; the first takes its place if it failed. */
export function baselineIndex(
  records: readonly Pick<VariantRecord, "label" | "role">[],
  label: string,
): number {
  return Math.max(
    0,
    records.findIndex((record) => record.label === label && record.role === "main"),
  );
}

/** The widest 95 % interval of what a cell reports, relative to its middle: speed-ups, or a lone variant's median. */
export function widestInterval(
  samples: readonly (readonly number[])[],
  baseline: number,
  draws = resamples,
): number | null {
  if (samples.length === 0 || samples.some((one) => one.length < 2)) return null;
  const others = samples.filter((_, i) => i !== baseline);
  const over = samples[baseline]!;
  const ratios = others.length === 0 ? [[over, [1]] as const] : others.map((one) => [over, one] as const);
  return Math.max(
    ...ratios.map(([above, below]) => {
      const { low, high, estimate } = ratioOfMedians(above, below, { resamples: draws });
      return (high - low) / estimate;
    }),
  );
}

/** An interval narrows with the square root of the rounds. */
export function expectedRounds(rounds: number, widest: number | null, settings: Settings): number {
  if (widest === null) return settings.repeat;
  const needed = Math.ceil(rounds * (widest / settings.interval) ** 2);
  return Math.min(settings.maxRepeat, Math.max(settings.repeat, needed, rounds));
}

const failed = (record: VariantRecord) => record.failure !== undefined;

/** What every round of a variant gave, until it is summed up. */
class Turns {
  readonly #samples: Record<Phase, Sample[]> = { prefill: [], decode: [] };

  constructor(
    readonly contestant: Contestant,
    private readonly run: CellRun,
  ) {}

  async take(round: number): Promise<void> {
    const { contestant, run } = this;
    const { batch, context, phase, settings, signal } = run;
    const { engine } = contestant;
    const prompts = randomPrompts(batch, context, engine.config.vocabSize, settings.seed + round);
    if (phase === "prefill") this.#samples.prefill.push(await prefill(engine, prompts, signal));
    if (settings.outputTokens > 1) {
      this.#samples.decode.push(await decode(engine, prompts, settings.outputTokens, signal));
    }
  }

  /** Times that count. */
  times(phase: Phase): number[] {
    return this.#samples[phase].slice(1 + this.run.settings.warmup).map(({ ms }) => ms);
  }

  /** Of whole rounds only: one that was interrupted may have reached some variants and not others. */
  record(phase: Phase, rounds: number): PhaseRecord | undefined {
    const before = 1 + this.run.settings.warmup;
    const all = this.#samples[phase].slice(0, before + rounds);
    const kept = all.slice(before);
    if (kept.length === 0) return undefined;
    const ops = [...new Set(kept.flatMap(({ perOpMs }) => Object.keys(perOpMs)))];
    const perOp = ops.map((op) => [op, median(kept.map(({ perOpMs }) => perOpMs[op] ?? 0))] as const);
    return {
      coldMs: all[0]!.ms,
      warmupMs: all.slice(1, before).map(({ ms }) => ms),
      samplesMs: kept.map(({ ms }) => ms),
      engineMs: kept.map(({ engineMs }) => engineMs),
      exposedMs: kept.map(({ exposedMs }) => exposedMs),
      collectiveMs: kept.map(({ collectiveMs }) => collectiveMs),
      exchanges: median(kept.map(({ exchanges }) => exchanges)),
      perOpMs: Object.fromEntries(perOp.sort(([, a], [, b]) => b - a)),
    };
  }
}

/**
 * Fills in the records' samples. A variant that fails gets a `failure` instead; an interruption ends the cell and
 * keeps its whole rounds.
 */
export async function runCell(run: CellRun): Promise<CellOutcome> {
  const { settings, phase, signal } = run;
  const random = randomNumbers(settings.seed);
  const turns = run.contestants.map((contestant) => new Turns(contestant, run));
  const present = () => turns.filter(({ contestant }) => !failed(contestant.record));
  const before = 1 + settings.warmup;
  let [round, seconds] = [-before, 0];
  let widest: number | null = null;
  let stopped: Stop | undefined;
  let startedAt = performance.now();

  const oneRound = async () => {
    for (const turn of shuffled(present(), random)) {
      await sleep(settleMs, undefined, { signal });
      try {
        await turn.take(round);
      } catch (error) {
        if (signal?.aborted) throw error;
        turn.contestant.record.failure = error instanceof Error ? error.message : String(error);
      }
    }
  };
  const judge = () => {
    const alive = present();
    const records = alive.map(({ contestant }) => contestant.record);
    const times = alive.map((turn) => turn.times(phase));
    widest = widestInterval(times, baselineIndex(records, run.baseline));
    if (widest !== null && widest <= settings.interval) return "interval";
    if (round >= settings.maxRepeat) return "repeats";
    return seconds >= settings.maxSeconds ? "time" : undefined;
  };

  while (stopped === undefined) {
    if (round === 0) startedAt = performance.now();
    try {
      signal?.throwIfAborted();
      await oneRound();
    } catch (error) {
      if (!signal?.aborted) throw error;
      stopped = "interrupted";
      break;
    }
    if (present().length === 0) {
      stopped = "failed";
      break;
    }
    round++;
    seconds = round > 0 ? (performance.now() - startedAt) / 1000 : 0;
    // Drawing again takes a while: later rounds are judged in groups.
    const due = round % Math.ceil(round / 20) === 0 || round >= settings.maxRepeat;
    if (round >= settings.repeat && due) stopped = judge();
    run.onProgress?.({
      stage: round > 0 ? "measure" : "warm-up",
      round: Math.max(0, round),
      expectedRounds: expectedRounds(round, widest, settings),
      secondsPerRound: (performance.now() - startedAt) / 1000 / (round > 0 ? round : round + before),
      widestInterval: widest,
    });
  }
  const rounds = Math.max(0, round);
  for (const turn of present()) {
    const { record } = turn.contestant;
    for (const one of ["prefill", "decode"] as const) {
      const samples = turn.record(one, rounds);
      if (samples) record[one] = samples;
    }
  }
  return { rounds, seconds, stopped, widestInterval: widest };
}
