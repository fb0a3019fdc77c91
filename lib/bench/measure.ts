/** One sample of an engine: a prefill, or decoding after one. */
import type { Engine, EngineStats } from "../engine.js";
import { RuntimeError } from "../errors.js";
import { randomNumbers } from "../report/statistics.js";

/** Of one prefill, or of one step of decoding. Milliseconds; of several ranks the mean. */
export interface Sample {
  /**
   * In JavaScript's time. Prefill: from the call of generate() to the first token, of a batch the last one's. Decode:
   * from one token to the next.
   */
  ms: number;
  /** In the engine's: prefill from the start of its first step to the sampled token, decode a step. */
  engineMs: number;
  /** Waited for collectives. */
  exposedMs: number;
  /** From the start of each collective to its arrival, hidden or not. */
  collectiveMs: number;
  /** Collectives of a rank. */
  exchanges: number;
  /** By kind of op; "wait" is the exposed part of collectives. */
  perOpMs: Record<string, number>;
}

/** Random token ids, the same for every engine of a round. */
export function randomPrompts(batch: number, length: number, vocabSize: number, seed: number): number[][] {
  const random = randomNumbers(seed);
  return Array.from({ length: batch }, () => Array.from({ length }, () => Math.floor(random() * vocabSize)));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** What happened between two readings, for each of `steps`. stats().profileMs begins anew with every reading. */
function between(before: EngineStats, after: EngineStats, steps: number): Omit<Sample, "ms" | "engineMs"> {
  const per = (key: "exposedMs" | "collectiveMs") => (mean(after[key]) - mean(before[key])) / steps;
  const ops = new Set(after.profileMs.flatMap((rank) => Object.keys(rank)));
  const perOp = (op: string) => mean(after.profileMs.map((rank) => rank[op] ?? 0)) / steps;
  return {
    exposedMs: per("exposedMs"),
    collectiveMs: per("collectiveMs"),
    exchanges: (after.exchanges - before.exchanges) / steps,
    perOpMs: Object.fromEntries([...ops].map((op) => [op, perOp(op)])),
  };
}

function checkCounts(counts: readonly number[], expected: number, what: string): void {
  const wrong = counts.find((count) => count !== expected);
  if (wrong === undefined) return;
  throw new RuntimeError("ERR_INTERNAL", `a sample had ${wrong} ${what} tokens instead of ${expected}`);
}

/** @throws what the engine throws; RuntimeError ERR_INTERNAL where token counts are not those asked for */
export async function prefill(
  engine: Engine,
  prompts: readonly number[][],
  signal?: AbortSignal,
): Promise<Sample> {
  const options = { maxTokens: 1, temperature: 0, ignoreEos: true, signal };
  const before = engine.stats();
  const results = await Promise.all(prompts.map((prompt) => engine.generate(prompt, options)));
  const after = engine.stats();
  checkCounts(
    results.map(({ promptTokens }) => promptTokens),
    prompts[0]!.length,
    "prompt",
  );
  checkCounts(
    results.map(({ tokens }) => tokens.length),
    1,
    "output",
  );
  const timings = results.map(({ timing }) => timing);
  return {
    ms: Math.max(...timings.map(({ ttftMs }) => ttftMs)),
    engineMs:
      Math.max(...timings.map(({ engineTtftMs }) => engineTtftMs)) -
      Math.min(...timings.map(({ queueMs }) => queueMs)),
    ...between(before, after, 1),
  };
}

/**
 * The steps after the last sequence's first token: all sequences decode in each.
 * @throws as prefill()
 */
export async function decode(
  engine: Engine,
  prompts: readonly number[][],
  outputTokens: number,
  signal?: AbortSignal,
): Promise<Sample> {
  const options = { maxTokens: outputTokens, temperature: 0, ignoreEos: true, signal };
  let missing = prompts.length;
  let firstAt = 0;
  let atFirst = engine.stats();
  const lengths = await Promise.all(
    prompts.map(async (prompt) => {
      let count = 0;
      for await (const _ of engine.generate(prompt, options)) {
        if (count++ > 0 || --missing > 0) continue;
        firstAt = performance.now();
        atFirst = engine.stats();
      }
      return count;
    }),
  );
  const elapsed = performance.now() - firstAt;
  const atEnd = engine.stats();
  checkCounts(lengths, outputTokens, "output");
  // Steps so short that all were over when the first token was seen leave none to count.
  const steps = Math.max(1, atEnd.steps - atFirst.steps);
  return {
    ms: elapsed / steps,
    engineMs: (atEnd.stepMsTotal - atFirst.stepMsTotal) / steps,
    ...between(atFirst, atEnd, steps),
  };
}
