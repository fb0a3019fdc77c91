/** One engine measured against what bounds it, in the same minute: a prefill, a decode, both bounds, and again. */
import { type DType, Engine } from "../../lib/index.js";
import { median } from "../../lib/report/statistics.js";

export interface Cell {
  preset: string;
  dtype: DType;
  ranks: number;
  threadsPerRank: number;
  communication: "overlapped" | "none";
  /** Sequences that run at once. */
  batch: number;
  /** Prompt tokens of each. */
  context: number;
}

export interface Row extends Cell {
  phase: "prefill" | "decode";
  /**
   * Through the public API. Prefill: from the call of generate() to the first token in JavaScript; of a batch, to the
   * last sequence's. Decode: a step, in JavaScript's time from the last first token to the end.
   */
  medianMs: number;
  /** The same inside the engine. Prefill: from its queue to the token. Decode: the step on all ranks and sampling. */
  engineMs: number;
  /** Prefill: the matrix products alone. Decode: one read of all packed weights. On all ranks at once. */
  boundMs: number;
  /** boundMs / medianMs: 1 is perfect. */
  ratio: number;
  tokensPerSecond: number;
  /** Mean over the ranks of one prefill or of one decode step; "wait" is what collectives kept a rank waiting. */
  perOpMs: Record<string, number>;
  /** Of medianMs, in order. */
  samplesMs: number[];
}

interface PhaseSamples {
  api: number[];
  engine: number[];
  bound: number[];
  perOp: Record<string, number>[];
}

/** Tokens after the first that a decode sample is the mean of. */
const decodeTokens = 16;

const prompt = (length: number, vocabSize: number, salt: number) =>
  Array.from({ length }, (_, i) => (i * 7919 + 13 + salt * 104729) % vocabSize);

/** Mean over the ranks, for each of `steps`. */
function perStep(profile: readonly Record<string, number>[], steps: number): Record<string, number> {
  const ops = new Set(profile.flatMap((rank) => Object.keys(rank)));
  const mean = (op: string) => profile.reduce((sum, rank) => sum + (rank[op] ?? 0), 0) / profile.length;
  return Object.fromEntries([...ops].map((op) => [op, mean(op) / Math.max(steps, 1)]));
}

export class CellRun {
  private readonly prefill: PhaseSamples = { api: [], engine: [], bound: [], perOp: [] };
  private readonly decode: PhaseSamples = { api: [], engine: [], bound: [], perOp: [] };

  constructor(
    readonly cell: Cell,
    private readonly engine: Engine,
  ) {}

  /** One prefill, one decode and both bounds; kept unless it is for warming up. */
  async round(keep: boolean): Promise<void> {
    const { engine, cell } = this;
    const sequences = Array.from({ length: cell.batch }, (_, i) => i);
    // Other cells ran before, and the bound runs behind this prefill: what is timed must find its code and data as warm.
    await engine.generate(prompt(16, engine.config.vocabSize, 0), { maxTokens: 2, temperature: 0 });
    engine.stats(); // the profile starts anew
    let atFirst = engine.stats();
    let firstAt = performance.now();
    let missing = cell.batch;
    const results = await Promise.all(
      sequences.map(async (i) => {
        const options = { maxTokens: decodeTokens + 1, temperature: 0, ignoreEos: true };
        const run = engine.generate(prompt(cell.context, engine.config.vocabSize, i), options);
        let tokens = 0;
        for await (const _ of run) {
          if (tokens++ > 0 || --missing > 0) continue;
          firstAt = performance.now();
          atFirst = engine.stats();
        }
        return (await run).timing;
      }),
    );
    const decodeMs = performance.now() - firstAt;
    const atEnd = engine.stats();
    const products = await engine.measureBound({ phase: "prefill", tokens: cell.batch * cell.context });
    const reading = await engine.measureBound({ phase: "decode" });
    if (!keep) return;
    // None left to count where steps are so short that all were over when the first token was seen.
    const steps = Math.max(1, atEnd.steps - atFirst.steps);
    this.prefill.api.push(Math.max(...results.map((timing) => timing.ttftMs)));
    this.prefill.engine.push(Math.max(...results.map((timing) => timing.engineTtftMs)));
    this.prefill.bound.push(products);
    this.prefill.perOp.push(perStep(atFirst.profileMs, 1));
    this.decode.api.push(decodeMs / steps);
    this.decode.engine.push((atEnd.stepMsTotal - atFirst.stepMsTotal) / steps);
    this.decode.bound.push(reading);
    this.decode.perOp.push(perStep(atEnd.profileMs, steps));
  }

  rows(): Row[] {
    const row = (phase: Row["phase"], samples: PhaseSamples, tokens: number): Row => {
      const medianMs = median(samples.api);
      const boundMs = median(samples.bound);
      const ops = [...new Set(samples.perOp.flatMap((times) => Object.keys(times)))];
      const perOp = ops.map((op) => [op, median(samples.perOp.map((times) => times[op] ?? 0))] as const);
      return {
        ...this.cell,
        phase,
        medianMs,
        engineMs: median(samples.engine),
        boundMs,
        ratio: boundMs / medianMs,
        tokensPerSecond: (1000 * tokens) / medianMs,
        perOpMs: Object.fromEntries([...perOp].sort(([, a], [, b]) => b - a)),
        samplesMs: samples.api,
      };
    };
    return [
      row("prefill", this.prefill, this.cell.batch * this.cell.context),
      row("decode", this.decode, this.cell.batch),
    ];
  }
}

/** What the first call at a prompt length costs over the second, at lengths that nobody has used: medians, in ms. */
export async function firstCallExtraMs(engine: Engine, lengths: readonly number[]): Promise<number> {
  const extra: number[] = [];
  for (const length of lengths) {
    const ttft = async () => {
      const tokens = prompt(length, engine.config.vocabSize, 0);
      return (await engine.generate(tokens, { maxTokens: 1, temperature: 0 })).timing.ttftMs;
    };
    const first = await ttft();
    extra.push(first - (await ttft()));
  }
  return median(extra);
}

/** Times of loading an engine that was loaded before, in ms. */
export async function loadTimes(directory: string, options: object, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const from = performance.now();
    const engine = await Engine.load(directory, options);
    times.push(performance.now() - from);
    await engine.dispose();
  }
  return times;
}
