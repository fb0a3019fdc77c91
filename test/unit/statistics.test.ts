/** Statistics against values computed by hand. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  geometricMean,
  median,
  percentile,
  randomNumbers,
  ratioOfMedians,
  summarize,
} from "../../lib/report/statistics.js";

const near = (actual: number, expected: number, tolerance = 1e-12) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

describe("percentiles", () => {
  test("between two samples, linearly", () => {
    // rank 0.9 · 4 = 3.6 of 10 20 30 40 50: 40 + 0.6 · 10
    near(percentile([50, 10, 40, 20, 30], 90), 46);
    near(percentile([50, 10, 40, 20, 30], 25), 20);
    near(percentile([50, 10, 40, 20, 30], 99), 49.6);
  });

  test("the ends are the extremes", () => {
    assert.equal(percentile([3, 1, 2], 0), 1);
    assert.equal(percentile([3, 1, 2], 100), 3);
  });

  test("the median of an even number of samples is the middle of the middle two", () => {
    assert.equal(median([4, 1, 3, 2]), 2.5);
  });

  test("what is no percentage, and samples that are none", () => {
    assert.throws(() => percentile([1], 101), { code: "ERR_OPTION", message: /`p` must be .* 100, got 101/ });
    assert.throws(() => percentile([], 50), { code: "ERR_OPTION" });
    assert.throws(() => percentile([1, Number.NaN], 50), { code: "ERR_OPTION", message: /NaN/ });
  });
});

describe("summary", () => {
  test("of 2 4 4 4 5 5 7 9", () => {
    // mean 5, squares 9+1+1+1+0+0+4+16 = 32, std √(32/7)
    const summary = summarize([9, 2, 5, 4, 4, 7, 4, 5]);
    assert.equal(summary.n, 8);
    assert.equal(summary.min, 2);
    assert.equal(summary.max, 9);
    assert.equal(summary.mean, 5);
    assert.equal(summary.median, 4.5);
    near(summary.std, Math.sqrt(32 / 7));
    near(summary.p90, 7 + 0.3 * 2); // rank 6.3
    near(summary.p95, 7 + 0.65 * 2); // rank 6.65
    near(summary.p99, 7 + 0.93 * 2); // rank 6.93
  });

  test("of one sample", () => {
    const { n, ...rest } = summarize([3]);
    assert.equal(n, 1);
    assert.deepEqual(rest, { min: 3, mean: 3, median: 3, max: 3, std: 0, p90: 3, p95: 3, p99: 3 });
  });

  test("leaves the samples in their order", () => {
    const samples = [3, 1, 2];
    summarize(samples);
    assert.deepEqual(samples, [3, 1, 2]);
  });
});

describe("geometric mean", () => {
  test("of 1 2 4 is 2, of 1.1 and 1.3 is √1.43", () => {
    near(geometricMean([1, 2, 4]), 2);
    near(geometricMean([1.1, 1.3]), Math.sqrt(1.43));
  });

  test("only of positive numbers", () => {
    assert.throws(() => geometricMean([1, 0]), { code: "ERR_OPTION", message: /positive numbers, got 0/ });
  });
});

describe("ratio of medians", () => {
  test("of constants is exact", () => {
    assert.deepEqual(ratioOfMedians([6, 6, 6], [4, 4]), { estimate: 1.5, low: 1.5, high: 1.5 });
  });

  test("is the same for the same seed, and another for another", () => {
    const numbers = randomNumbers(1);
    const slow = Array.from({ length: 40 }, () => 12 + numbers());
    const fast = Array.from({ length: 40 }, () => 10 + numbers());
    const interval = ratioOfMedians(slow, fast, { seed: 5 });
    assert.deepEqual(ratioOfMedians(slow, fast, { seed: 5 }), interval);
    assert.notDeepEqual(ratioOfMedians(slow, fast, { seed: 6 }), interval);
    assert.ok(interval.low < interval.estimate && interval.estimate < interval.high);
  });

  test("two samples against a constant: a quarter of the medians at either end, half in the middle", () => {
    // Redrawn medians of {1, 3}: 1 with probability 1/4, 2 with 1/2, 3 with 1/4. So 95 % reach from 1 to 3, and the
    // middle 40 % is 2 alone.
    assert.deepEqual(ratioOfMedians([1, 3], [1]), { estimate: 2, low: 1, high: 3 });
    assert.deepEqual(ratioOfMedians([1, 3], [1], { confidence: 0.4 }), { estimate: 2, low: 2, high: 2 });
  });

  test("95 % of the intervals hold the true ratio, or nearly", () => {
    const numbers = randomNumbers(7);
    const around = (center: number) => Array.from({ length: 31 }, () => center * (0.9 + 0.2 * numbers()));
    let held = 0;
    for (let round = 0; round < 200; round++) {
      const { low, high } = ratioOfMedians(around(13), around(10), { seed: round, resamples: 300 });
      if (low <= 1.3 && 1.3 <= high) held++;
    }
    assert.ok(held >= 180, `${held} of 200`);
  });
});

test("the random numbers are uniform", () => {
  const numbers = randomNumbers(3);
  const drawn = Array.from({ length: 10_000 }, numbers);
  const counts = new Array<number>(10).fill(0);
  for (const value of drawn) counts[Math.floor(value * 10)]!++;
  for (const n of counts) assert.ok(n > 900 && n < 1100, `${counts}`);
});
