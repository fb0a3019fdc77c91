/** What samples come to, against values computed by hand, and what is said of them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { analyse } from "../../lib/bench/analysis.js";
import { cellKey } from "../../lib/bench/document.js";
import { findings, gain, verdict } from "../../lib/bench/findings.js";
import { parseMeasured } from "../../lib/plan/measured.js";
import { benchRecord, cellRecord, phaseRecord, variant } from "../helpers/bench-records.js";

const steady = (ms: number, others = {}) => phaseRecord([ms, ms, ms], others);

/** standard 20 ms (bound 15), Kraken 16 (bound 15.2): three layers. */
const cell = cellRecord([
  variant("standard", "main", steady(20, { collectiveMs: [5, 6, 7], exposedMs: [4.5, 5.4, 6] })),
  variant("Kraken", "main", steady(16, { collectiveMs: [3, 3, 3], exposedMs: [0.3, 0.3, 0.3] })),
  variant("standard", "bound", steady(15)),
  variant("Kraken", "bound", steady(15.2)),
  variant("standard", "one-rank", steady(25)),
  variant("Kraken", "one-rank", steady(26)),
]);

describe("analysis", () => {
  const { results, means, rows } = analyse(benchRecord([cell, { ...cell, context: 64, ranks: 1 }]));
  const [standard, kraken] = results[0]!.entries;

  test("speed-ups are the baseline's median over the model's", () => {
    assert.equal(standard!.main!.speedUp, null);
    assert.deepEqual(kraken!.main!.speedUp, { estimate: 1.25, low: 1.25, high: 1.25 });
    assert.equal(kraken!.bound!.speedUp!.estimate, 20 / 15.2);
    assert.equal(kraken!.oneRank!.speedUp!.estimate, 20 / 26);
  });

  test("the share of the bound, and statistics by their names", () => {
    assert.equal(standard!.shareOfBound, 0.75);
    assert.equal(kraken!.shareOfBound, 0.95);
    const { time, engine, coldMs, medianInterval } = standard!.main!;
    assert.deepEqual([time.n, time.median, time.std, engine.median, coldMs], [3, 20, 0, 19, 99]);
    assert.deepEqual(medianInterval, { estimate: 20, low: 20, high: 20 });
  });

  test("communication of a layer: medians over the layers", () => {
    assert.deepEqual(standard!.main!.perLayer, { collectiveMs: 6 / 3, exposedMs: 5.4 / 3 });
    assert.equal(standard!.oneRank!.perLayer, null);
  });

  test("geometric means, for each rank count and for all", () => {
    assert.deepEqual(
      means.map(({ ranks, cells, speedUps }) => [ranks, cells, Math.round(1000 * speedUps.Kraken!) / 1000]),
      [
        [2, 1, 1.25],
        [1, 1, 1.25],
        [undefined, 2, 1.25],
      ],
    );
    assert.ok(Math.abs(means[2]!.bounds.standard! - 20 / 15) < 1e-12);
  });

  test("rows are what kraken plan --calibrate reads, without the one-rank ones", () => {
    assert.equal(rows.length, 8);
    const parsed = parseMeasured({ rows }, "rows");
    assert.deepEqual(
      parsed
        .slice(0, 2)
        .map(({ architecture, communication, medianMs, ways }) => [
          architecture,
          communication,
          medianMs,
          ways,
        ]),
      [
        ["gpt", "overlapped", 20, undefined],
        ["gpt", "none", 15, undefined],
      ],
    );
    assert.deepEqual(
      [parsed[2]!.architecture, parsed[2]!.ways, parsed[2]!.contextLength],
      ["kraken", 2, 128],
    );
  });

  test("decoding has no rows, and its own samples", () => {
    const decode = { decode: phaseRecord([2, 2]) };
    const record = benchRecord([cellRecord([variant("standard", "main", undefined, decode)])], {
      phase: "decode",
    });
    const analysis = analyse(record);
    assert.deepEqual(analysis.rows, []);
    assert.equal(analysis.results[0]!.entries[0]!.main!.time.median, 2);
  });

  test("a variant that failed has no numbers; the baseline's place is taken by the first that is left", () => {
    const failed = cellRecord([
      variant("standard", "main", undefined, { failure: "wrong logits" }),
      variant("parallel", "main", steady(10)),
      variant("Kraken", "main", steady(20)),
    ]);
    const { results } = analyse(benchRecord([failed]));
    assert.equal(results[0]!.baseline, "parallel");
    const [standard, , kraken] = results[0]!.entries;
    assert.equal(standard!.main, null);
    assert.deepEqual(standard!.failures, ["wrong logits"]);
    assert.equal(kraken!.main!.speedUp!.estimate, 0.5);
  });
});

describe("findings", () => {
  test("a gain is what a ratio is over one", () => {
    assert.equal(gain(1.123), "+12.3 %");
    assert.equal(gain(0.9), "-10.0 %");
    assert.equal(gain(0.99999), "0.0 %");
  });

  test("wins, loses and draws by the whole interval", () => {
    assert.equal(verdict({ estimate: 1.1, low: 1.01, high: 1.2 }), "wins");
    assert.equal(verdict({ estimate: 0.9, low: 0.8, high: 0.99 }), "loses");
    assert.equal(verdict({ estimate: 1.1, low: 0.99, high: 1.2 }), "draws");
  });

  const said = (kraken: number[], bound: number) =>
    findings(
      analyse(
        benchRecord([
          cellRecord([
            variant("standard", "main", phaseRecord([20, 20, 20])),
            variant("Kraken", "main", phaseRecord(kraken)),
            variant("standard", "bound", phaseRecord([15, 15, 15])),
            variant("Kraken", "bound", phaseRecord([bound, bound, bound])),
            variant("standard", "one-rank", phaseRecord([18, 18, 18])),
          ]),
        ]),
      ),
    );

  test("where Kraken wins", () => {
    const [words] = said([16, 16, 16], 15.2);
    assert.equal(
      words,
      "paper:tiny, bfloat16, 2 ranks, context 128, batch 1: Kraken is faster than standard: speed-up +25.0 %, " +
        "95 % interval +25.0 % to +25.0 %. Without communication it would take 15.2 ms, standard 15.0 ms: it computes " +
        "0.200 ms longer. Communication costs it 0.800 ms, standard 5.00 ms. Fastest: Kraken on 2 ranks (16.0 ms; on one " +
        "rank with 2 threads standard, 18.0 ms).",
    );
  });

  test("where it loses, and where splitting does", () => {
    const [words] = said([25, 25, 25], 24);
    assert.match(words!, /Kraken is slower than standard: speed-up -20\.0 %/);
    assert.match(
      words!,
      /it computes 9\.00 ms longer\. Communication costs it 1\.00 ms, standard 5\.00 ms\./,
    );
    assert.match(
      words!,
      /Fastest: standard on one rank with 2 threads \(18\.0 ms; on 2 ranks standard, 20\.0 ms\)/,
    );
  });

  test("where nobody can tell", () => {
    assert.match(
      said([18, 20, 22], 14)[0]!,
      /Kraken and standard cannot be told apart: .* it computes 1\.00 ms less/,
    );
  });

  test("means of several cells, beside the paper's", () => {
    const cells = [cell, { ...cell, context: 64 }];
    const words = findings(analyse(benchRecord(cells)));
    assert.match(
      words.at(-1)!,
      /^Kraken: geometric mean \+25\.0 % over 2 cells .*The paper reports \+35\.6 %/,
    );
  });

  test("what failed is said", () => {
    const failed = cellRecord([
      variant("standard", "main", phaseRecord([20, 20])),
      variant("Kraken", "main", undefined, { failure: "its logits differ" }),
    ]);
    assert.match(findings(analyse(benchRecord([failed])))[0]!, /Kraken failed: its logits differ\./);
  });
});

test("a cell's name has all that tells it from others", () => {
  const other = { ...cell, link: "1Gbit,50us", backend: "tensorrt", ranks: 1, batch: 4 };
  assert.equal(
    cellKey(other),
    "paper:tiny, bfloat16, 1 rank, tensorrt, link 1Gbit,50us, context 128, batch 4",
  );
});
