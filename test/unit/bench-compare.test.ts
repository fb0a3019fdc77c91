/** What changed between two runs, and what is noise. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compareBench, verdictOf } from "../../lib/bench/compare.js";
import { randomNumbers } from "../../lib/report/statistics.js";
import { benchRecord, cellRecord, phaseRecord, variant } from "../helpers/bench-records.js";

/** Thirty samples within a tenth about a center. */
function around(center: number, seed: number): number[] {
  const random = randomNumbers(seed);
  return Array.from({ length: 30 }, () => center * (0.95 + 0.1 * random()));
}

function run(standard: number, kraken: number, seed: number, others = {}) {
  const variants = [
    variant("standard", "main", phaseRecord(around(standard, seed))),
    variant("Kraken", "main", phaseRecord(around(kraken, seed + 1))),
  ];
  return benchRecord([cellRecord(variants, others)]);
}

const verdicts = (comparison: ReturnType<typeof compareBench>) =>
  Object.fromEntries(comparison.changes.map(({ label, of, verdict }) => [`${label} ${of}`, verdict]));

describe("verdicts", () => {
  test("only where the whole interval lies beyond the threshold", () => {
    assert.equal(verdictOf({ estimate: 1.2, low: 1.06, high: 1.3 }, 0.05), "slower");
    assert.equal(verdictOf({ estimate: 1.2, low: 1.04, high: 1.3 }, 0.05), "noise");
    assert.equal(verdictOf({ estimate: 0.8, low: 0.7, high: 0.94 }, 0.05), "faster");
    assert.equal(verdictOf({ estimate: 0.8, low: 0.7, high: 0.96 }, 0.05), "noise");
    assert.equal(verdictOf({ estimate: 1.01, low: 1.005, high: 1.02 }, 0), "slower");
  });

  test("two runs of the same thing: noise", () => {
    const comparison = compareBench(run(100, 80, 1), run(101, 80, 50));
    assert.deepEqual(verdicts(comparison), {
      "standard time": "noise",
      "Kraken time": "noise",
      "Kraken speed-up": "noise",
    });
    assert.ok(Math.abs(comparison.drift - 1) < 0.02);
  });

  test("one model changed: its time and its speed-up", () => {
    const comparison = compareBench(run(100, 80, 1), run(100, 60, 50));
    assert.deepEqual(verdicts(comparison), {
      "standard time": "noise",
      "Kraken time": "faster",
      "Kraken speed-up": "faster",
    });
    const speedUp = comparison.changes.find(({ of }) => of === "speed-up")!;
    assert.ok(Math.abs(speedUp.before - 1.25) < 0.03 && Math.abs(speedUp.after - 100 / 60) < 0.04);
    assert.ok(Math.abs(speedUp.ratio.estimate - speedUp.after / speedUp.before) < 1e-12);
  });

  test("all moved alike: the times, and no speed-up", () => {
    const comparison = compareBench(run(100, 80, 1), run(130, 104, 50));
    assert.deepEqual(verdicts(comparison), {
      "standard time": "slower",
      "Kraken time": "slower",
      "Kraken speed-up": "noise",
    });
    assert.ok(Math.abs(comparison.drift - 1.3) < 0.02);
  });

  test("a larger threshold forgives more", () => {
    const comparison = compareBench(run(100, 80, 1), run(130, 104, 50), { threshold: 0.5 });
    assert.ok(comparison.changes.every(({ verdict }) => verdict === "noise"));
    assert.throws(() => compareBench(run(1, 1, 1), run(1, 1, 1), { threshold: -1 }), {
      code: "ERR_OPTION",
      message: /`threshold` must be a number of at least 0, got -1/,
    });
  });
});

describe("what two runs do not share", () => {
  test("is listed", () => {
    const before = run(100, 80, 1);
    const after = run(100, 80, 2);
    before.cells.push({ ...before.cells[0]!, context: 7 });
    after.cells[0]!.variants.push(variant("ladder", "bound", phaseRecord([1, 2])));
    after.environment.cpu = { model: "Other CPU", usable: 2 };
    after.complete = false;
    const { onlyBefore, onlyAfter, differences } = compareBench(before, after);
    assert.deepEqual(onlyBefore, [
      "paper:tiny, bfloat16, 2 ranks, context 7, batch 1, standard",
      "paper:tiny, bfloat16, 2 ranks, context 7, batch 1, Kraken",
    ]);
    assert.deepEqual(onlyAfter, ["paper:tiny, bfloat16, 2 ranks, context 128, batch 1, ladder (bound)"]);
    assert.deepEqual(differences, ["processor: Test CPU, then Other CPU", "the second run was interrupted"]);
  });

  test("variants that failed are not compared", () => {
    const after = run(100, 80, 2);
    after.cells[0]!.variants[1] = variant("Kraken", "main", undefined, { failure: "wrong" });
    const { changes, onlyBefore } = compareBench(run(100, 80, 1), after);
    assert.deepEqual(
      changes.map(({ label }) => label),
      ["standard"],
    );
    assert.equal(onlyBefore.length, 1);
  });

  test("nothing at all is an error", () => {
    const other = run(100, 80, 1, { context: 7 });
    assert.throws(() => compareBench(run(100, 80, 1), other), {
      code: "ERR_OPTION",
      message: /no cell in common/,
    });
    const decode = benchRecord([], { phase: "decode" });
    assert.throws(() => compareBench(run(100, 80, 1), decode), {
      code: "ERR_OPTION",
      message: /times to the first token, the other times from token to token/,
    });
  });
});
