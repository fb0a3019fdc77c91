/** Rounds of a cell: turns, warm-up, when it ends, and what becomes of a model that fails. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type CellRun, expectedRounds, runCell, shuffled, widestInterval } from "../../lib/bench/cell.js";
import { roundWork, secondsLeft } from "../../lib/bench/estimate.js";
import { resolveBench } from "../../lib/bench/options.js";
import type { Engine } from "../../lib/engine.js";
import { randomNumbers } from "../../lib/report/statistics.js";
import { configOf, variant } from "../helpers/bench-records.js";

/** Answers after no time at all, with times that were thought up. */
function fakeEngine(label: string, log: string[], ttftMs: (call: number) => number): Engine {
  let calls = 0;
  let steps = 0;
  return {
    config: configOf(label),
    stats: () => ({
      steps,
      stepMsTotal: 3 * steps,
      exposedMs: [2 * steps, 4 * steps],
      collectiveMs: [5 * steps, 5 * steps],
      exchanges: 6 * steps,
      profileMs: [{ attention: 1 }, { attention: 3, wait: 2 }],
    }),
    async generate(prompt: number[], { maxTokens }: { maxTokens: number }) {
      log.push(label);
      const ms = ttftMs(calls++);
      steps++;
      const timing = { ttftMs: ms, engineTtftMs: ms - 1, queueMs: 0.5 };
      return { promptTokens: prompt.length, tokens: new Array(maxTokens).fill(0), timing };
    },
  } as unknown as Engine;
}

function run(others: Partial<CellRun> = {}, options = {}): CellRun {
  return {
    batch: 1,
    context: 8,
    phase: "prefill",
    baseline: "standard",
    settings: resolveBench("prefill", { threads: 2, repeat: 4, maxRepeat: 40, warmup: 1, ...options }),
    contestants: [],
    ...others,
  };
}

function contestants(log: string[], times: Record<string, (call: number) => number>) {
  return Object.entries(times).map(([label, ttftMs]) => ({
    record: variant(label, "main", undefined),
    engine: fakeEngine(label, log, ttftMs),
  }));
}

describe("rounds", () => {
  test("in each every model has its turn, in another order; cold and warm-up apart", async () => {
    const log: string[] = [];
    const models = contestants(log, { standard: (i) => 10 + i, ladder: () => 5, Kraken: () => 7 });
    const outcome = await runCell(run({ contestants: models }, { maxRepeat: 6, interval: 0.01 }));
    assert.deepEqual([outcome.rounds, outcome.stopped], [6, "repeats"]);
    assert.equal(log.length, 3 * (1 + 1 + 6));
    const rounds = Array.from({ length: 8 }, (_, i) => log.slice(3 * i, 3 * i + 3));
    for (const round of rounds) assert.deepEqual([...round].sort(), ["Kraken", "ladder", "standard"]);
    assert.ok(new Set(rounds.map(String)).size > 1);
    const { prefill } = models[0]!.record;
    assert.deepEqual(prefill!.warmupMs, [11]);
    assert.equal(prefill!.coldMs, 10);
    assert.deepEqual(prefill!.samplesMs, [12, 13, 14, 15, 16, 17]);
    assert.deepEqual(prefill!.engineMs, [10.5, 11.5, 12.5, 13.5, 14.5, 15.5]);
    // One step between two readings: the mean of both ranks.
    assert.deepEqual(prefill!.exposedMs, new Array(6).fill(3));
    assert.deepEqual(prefill!.collectiveMs, new Array(6).fill(5));
    assert.equal(prefill!.exchanges, 6);
    assert.deepEqual(prefill!.perOpMs, { attention: 2, wait: 1 });
  });

  test("end when every interval is narrow, not before the least number", async () => {
    const models = contestants([], { standard: () => 10, Kraken: () => 8 });
    const outcome = await runCell(run({ contestants: models }));
    assert.deepEqual([outcome.rounds, outcome.stopped, outcome.widestInterval], [4, "interval", 0]);
  });

  test("end when time is up", async () => {
    const noise = randomNumbers(1);
    const models = contestants([], { standard: () => 10 * noise(), Kraken: () => 8 * noise() });
    const outcome = await runCell(run({ contestants: models }, { maxSeconds: 0.001, maxRepeat: 1000 }));
    assert.deepEqual([outcome.rounds, outcome.stopped], [4, "time"]);
  });

  test("go on without a model that fails", async () => {
    const models = contestants([], {
      standard: () => 10,
      Kraken: (call) => {
        if (call === 3) throw new Error("a rank was lost");
        return 8;
      },
    });
    const outcome = await runCell(run({ contestants: models }));
    assert.equal(outcome.stopped, "interval");
    assert.equal(models[1]!.record.failure, "a rank was lost");
    assert.equal(models[1]!.record.prefill, undefined);
    assert.equal(models[0]!.record.prefill!.samplesMs.length, 4);
  });

  test("end when all have failed", async () => {
    const models = contestants([], {
      standard: () => {
        throw new Error("no");
      },
    });
    const outcome = await runCell(run({ contestants: models }));
    assert.deepEqual([outcome.rounds, outcome.stopped], [0, "failed"]);
  });

  test("an interruption keeps whole rounds", async () => {
    const controller = new AbortController();
    const models = contestants([], { standard: () => 10, Kraken: () => 8 });
    const outcome = await runCell(
      run({
        contestants: models,
        signal: controller.signal,
        onProgress: ({ round }) => {
          if (round === 3) controller.abort();
        },
      }),
    );
    assert.deepEqual([outcome.rounds, outcome.stopped], [3, "interrupted"]);
    for (const { record } of models) assert.equal(record.prefill!.samplesMs.length, 3);
  });
});

test("an order has everything once, and all orders come up", () => {
  const random = randomNumbers(2);
  const orders = Array.from({ length: 200 }, () => shuffled([1, 2, 3], random).join(""));
  assert.deepEqual([...new Set(orders)].sort(), ["123", "132", "213", "231", "312", "321"]);
});

describe("intervals", () => {
  test("the widest of all speed-ups, or of a lone median", () => {
    const wide = [1, 3];
    assert.equal(
      widestInterval(
        [
          [2, 2],
          [4, 4],
          [2, 2],
        ],
        0,
      ),
      0,
    );
    // 2 over redrawn medians of {1, 3}: from 2/3 to 2, the estimate is 2/2.
    assert.ok(Math.abs(widestInterval([[2, 2], wide], 0, 2000)! - (2 - 2 / 3)) < 1e-12);
    assert.equal(widestInterval([wide], 0, 2000), 1); // (3 − 1) / 2
    assert.equal(widestInterval([[1], [2]], 0), null);
    assert.equal(widestInterval([], 0), null);
  });

  test("narrow with the square root of the rounds", () => {
    const settings = resolveBench("prefill", { repeat: 10, maxRepeat: 100, interval: 0.05 });
    assert.equal(expectedRounds(0, null, settings), 10);
    assert.equal(expectedRounds(10, 0.1, settings), 40);
    assert.equal(expectedRounds(10, 0.5, settings), 100);
    assert.equal(expectedRounds(10, 0.01, settings), 10);
  });
});

test("time left: the rest of this cell, and the others by their tokens", () => {
  assert.equal(roundWork(2, 100, 1), 200);
  assert.equal(roundWork(1, 100, 3), 132);
  const current = { work: 100, secondsPerRound: 2, rounds: 5 };
  const following = [{ work: 300, secondsPerRound: 0, rounds: 10 }];
  assert.equal(secondsLeft(current, following, 1000), 10 + 60);
  assert.equal(secondsLeft(current, following, 20), 10 + 20);
});
