/** The roofline against hand-computed times, and against the published shapes' table. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allReduceSeconds, predictTtft, type TtftQuestion } from "../../lib/plan/cost-model.js";
import { type Grid, predictGrid } from "../../lib/plan/grid.js";
import { type Hardware, hardwarePreset } from "../../lib/plan/hardware.js";
import { exactKrakenWidth, krakenWidth, shapeNamed, standardParameters } from "../../lib/plan/shapes.js";

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual / expected - 1) < 1e-9, `${actual} is not ${expected}`);

/** Round numbers: 1 Tflop/s, 100 GB/s of memory, 1 GB/s of link with 1 ms. */
const hardware: Hardware = {
  name: "round",
  flopsPerSecond: 1e12,
  memoryBytesPerSecond: 1e11,
  memoryBytes: 1e9,
  link: { name: "link", bytesPerSecond: 1e9, latencySeconds: 1e-3 },
};

describe("one prediction", () => {
  // d 1000, 2 ranks, 1000 tokens: many enough that arithmetic, not memory, is the limit.
  // Of a rank, one layer: projections 2·4·1000²·1000/2 = 4e9 flop, scores 2·1000²·1000/2 = 1e9, MLP 8e9. So 13 ms.
  // A message has 2 MB; of it 2·(1/2) are sent: 1 ms + 2 ms.
  const question: Omit<TtftQuestion, "architecture"> = {
    layers: 10,
    hiddenSize: 1000,
    ranks: 2,
    contextLength: 1000,
    hardware,
  };

  test("standard: two all-reduces a layer, all exposed", () => {
    const prediction = predictTtft({ ...question, architecture: "gpt" });
    near(prediction.computeMs, 130);
    near(prediction.allReduceMs, 60);
    near(prediction.exposedMs, 60);
    near(prediction.ttftMs, 190);
  });

  test("parallel: one", () => {
    near(predictTtft({ ...question, architecture: "parallel" }).ttftMs, 160);
  });

  test("ladder: 3 ms beside attention's 5 and the MLP's 8 ms; the last has nothing beside it", () => {
    const prediction = predictTtft({ ...question, architecture: "ladder" });
    near(prediction.allReduceMs, 60);
    near(prediction.exposedMs, 3);
  });

  test("kraken: one way a rank; whole attention, half the MLP", () => {
    // projections 8e9, scores 2e9, MLP 2·4·1000²·1000 = 8e9: 18 ms a layer. Window 10 ms.
    const prediction = predictTtft({ ...question, architecture: "kraken" });
    near(prediction.computeMs, 180);
    near(prediction.allReduceMs, 30);
    near(prediction.exposedMs, 3);
  });

  test("kraken on a slow link: what the window does not hold is waited for", () => {
    const slow = { ...hardware, link: { ...hardware.link, bytesPerSecond: 1e8 } }; // 21 ms
    near(predictTtft({ ...question, hardware: slow, architecture: "kraken" }).exposedMs, 9 * (21 - 10) + 21);
  });

  test("kraken: the last collective of the last token alone", () => {
    const prediction = predictTtft({ ...question, architecture: "kraken", conjunction: "last" });
    near(prediction.exposedMs, 1 + 2e3 / 1e9 / 1e-3);
  });

  test("kraken with two ways a rank: twice the work, the same message", () => {
    const prediction = predictTtft({ ...question, architecture: "kraken", ways: 4 });
    near(prediction.computeMs, 360);
    near(prediction.allReduceMs, 30);
  });

  test("without communication", () => {
    for (const architecture of ["gpt", "parallel", "ladder", "kraken"] as const) {
      const prediction = predictTtft({ ...question, architecture, communication: "none" });
      assert.equal(prediction.exposedMs, 0);
      assert.equal(prediction.allReduceMs, 0);
      assert.equal(prediction.ttftMs, prediction.computeMs);
    }
  });

  test("one rank has none", () => {
    near(predictTtft({ ...question, ranks: 1, architecture: "gpt" }).ttftMs, 260);
    assert.equal(allReduceSeconds(1e6, 1, hardware), 0);
  });

  test("few tokens: reading the weights takes longer than using them", () => {
    // 12·1000²·2 bytes / 2 ranks = 12 MB a layer, 0.12 ms; arithmetic 0.012 ms.
    const prediction = predictTtft({ ...question, architecture: "gpt", contextLength: 1 });
    near(prediction.computeMs, 1.2);
    near(predictTtft({ ...question, architecture: "gpt", contextLength: 1, dtypeBytes: 4 }).computeMs, 2.4);
  });

  test("batch: more rows of everything, but no longer contexts", () => {
    // projections and MLP four times; scores too, not sixteen times
    const prediction = predictTtft({ ...question, architecture: "gpt", batch: 4 });
    near(prediction.computeMs, 520);
    near(prediction.exposedMs, 20 * (1 + 8));
  });

  test("the logits head, for the last token only", () => {
    // 50,000·1000/2 weights of 2 bytes at 100 GB/s: 0.5 ms
    near(predictTtft({ ...question, architecture: "gpt", vocabSize: 50_000 }).computeMs, 130.5);
    // Kraken's conjunction has 1000² more on each rank: 0.02 ms
    near(predictTtft({ ...question, architecture: "kraken", vocabSize: 50_000 }).computeMs, 180.52);
  });

  test("efficiencies", () => {
    const efficiencies = { flop: 0.5, link: 0.25, hbm: 1 };
    const prediction = predictTtft({ ...question, architecture: "gpt", efficiencies });
    near(prediction.computeMs, 260);
    near(prediction.exposedMs, 20 * (1 + 8));
  });

  test("an all-reduce of 8 ranks sends 14/8 of the message", () => {
    near(allReduceSeconds(8e6, 8, hardware), 1e-3 + 14e-3);
  });

  const bad: [string, Partial<TtftQuestion>, string, RegExp][] = [
    [
      "ranks that do not divide the ways",
      { ways: 3 },
      "ERR_RANKS",
      /`ranks` must divide `ways` \(3\): got 2/,
    ],
    ["a negative context", { contextLength: -1 }, "ERR_OPTION", /`contextLength`.*at least 1, got -1/],
    ["half a layer", { layers: 0.5 }, "ERR_OPTION", /`layers` must be an integer/],
    [
      "an efficiency over 1",
      { efficiencies: { flop: 2, link: 1, hbm: 1 } },
      "ERR_OPTION",
      /`efficiencies.flop`.*got 2/,
    ],
  ];
  for (const [name, wrong, code, message] of bad) {
    test(name, () => {
      assert.throws(() => predictTtft({ ...question, architecture: "kraken", ...wrong }), { code, message });
    });
  }
});

describe("shapes", () => {
  test("a Kraken of the same parameters", () => {
    // [size, exact d at 4 and 8 ways, rounded]
    for (const [size, four, eight, roundFour, roundEight] of [
      ["1.3b", 1275, 908, 1280, 896],
      ["6.7b", 2524, 1790, 2496, 1792],
      ["13b", 3148, 2230, 3136, 2240],
      ["65b", 5023, 3554, 4992, 3584],
      ["175b", 7530, 5326, 7552, 5312],
    ] as const) {
      const shape = shapeNamed(size);
      const exact = (ways: number) =>
        exactKrakenWidth(standardParameters(shape, 51_200), shape.layers, ways, 51_200);
      assert.equal(Math.round(exact(4)), four);
      assert.equal(Math.round(exact(8)), eight);
      near(51_200 * exact(8) + 8 * shape.layers * 8 * exact(8) ** 2, standardParameters(shape, 51_200));
      assert.equal(krakenWidth(shape, 4), roundFour);
      assert.equal(krakenWidth(shape, 8), roundEight);
    }
  });

  test("an unknown one", () => {
    assert.throws(() => shapeNamed("1.3bn"), { code: "ERR_OPTION", message: /did you mean 1\.3b\?/ });
    assert.equal(shapeNamed("paper:13B").layers, 40);
  });
});

describe("the paper's 20 cells", () => {
  const percent = (share: number) => Math.round(100 * share);
  const cellsOf = (grid: Grid, size: string, context: number, ranks: number) =>
    grid.cells.find((one) => one.size === size && one.contextLength === context && one.ranks === ranks)!;
  const a100 = hardwarePreset("a100-40gb");
  const grid = predictGrid({ hardware: a100 });

  // Computed apart from this code: [size, context, at 4 ranks all-reduce share, Kraken, parallel, the same at 8]
  for (const [size, context, ...expected] of [
    ["1.3b", 128, 61, 103, 44, 76, 119, 62],
    ["1.3b", 2048, 37, 36, 22, 57, 89, 40],
    ["6.7b", 128, 32, 48, 19, 50, 93, 33],
    ["6.7b", 2048, 21, 21, 12, 39, 45, 24],
    ["13b", 128, 25, 32, 14, 41, 65, 26],
    ["13b", 2048, 18, 16, 10, 33, 36, 20],
    ["65b", 128, 14, 17, 7, 26, 31, 15],
    ["65b", 2048, 12, 11, 6, 23, 22, 13],
    ["175b", 128, 8, 8, 4, 16, 20, 9],
    ["175b", 2048, 8, 6, 4, 17, 17, 9],
  ] as const) {
    test(`A100: ${size}, context ${context}`, () => {
      const found = [4, 8].flatMap((ranks) => {
        const { allReduceShare, speedUp } = cellsOf(grid, size, context, ranks);
        return [allReduceShare, speedUp.kraken, speedUp.parallel].map(percent);
      });
      assert.deepEqual(found, expected);
    });
  }

  const means = (of: Grid, key: "kraken" | "parallel") =>
    of.means.map(({ speedUp }) => percent(speedUp[key]));
  const range = (of: Grid) => {
    const speedUps = of.cells.map(({ speedUp }) => speedUp.kraken);
    return [Math.min(...speedUps), Math.max(...speedUps)].map((share) => Math.round(1000 * share) / 10);
  };

  test("A100: geometric means at 4 ranks, at 8, of all", () => {
    assert.deepEqual(means(grid, "kraken"), [27, 50, 38]);
    assert.deepEqual(means(grid, "parallel"), [14, 24, 19]);
  });

  const efficiencies = { flop: 0.6, link: 0.7, hbm: 0.8 };

  test("A100 with 60 % of its flop, 70 % of its link, 80 % of its memory, and 15 us", () => {
    const hardware = { ...a100, link: { ...a100.link, latencySeconds: 15e-6 } };
    const realistic = predictGrid({ hardware, efficiencies });
    assert.equal(means(realistic, "kraken")[2], 38);
    assert.equal(means(realistic, "parallel")[2], 19);
    assert.deepEqual(range(realistic), [4.6, 119.2]);
  });

  test("H100 at the same shares", () => {
    const h100 = predictGrid({ hardware: hardwarePreset("h100-sxm"), efficiencies });
    assert.deepEqual(means(h100, "kraken"), [44, 81, 61]);
    assert.equal(means(h100, "parallel")[2], 27);
    assert.deepEqual(range(h100), [12.6, 175]);
  });

  test("bounds are bounds", () => {
    for (const { predictions: p } of grid.cells) {
      for (const variant of ["gpt", "parallel", "ladder"] as const) {
        assert.ok(p[variant].ttftMs > p.gptBound.ttftMs);
      }
      assert.ok(p.kraken.ttftMs > p.krakenBound.ttftMs);
    }
  });

  test("ranks that do not divide a width", () => {
    assert.throws(() => predictGrid({ hardware: a100, ranks: [3] }), {
      code: "ERR_RANKS",
      message: /must divide the width of 1\.3b \(2048\).*got 3/,
    });
  });
});
