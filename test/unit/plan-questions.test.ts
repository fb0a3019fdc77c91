/** The questions backwards: which Kraken to train, which link decides, which efficiencies a measurement shows. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parameterCount, validateModelConfig } from "../../lib/model-config.js";
import { breakEvenBandwidth, breakEvenLatency, type Contest } from "../../lib/plan/break-even.js";
import { calibrate, type MeasuredRow } from "../../lib/plan/calibrate.js";
import { predictTtft } from "../../lib/plan/cost-model.js";
import { designKraken, usualLayers } from "../../lib/plan/design.js";
import { hardwarePreset } from "../../lib/plan/hardware.js";
import { parseMeasured } from "../../lib/plan/measured.js";

describe("a Kraken to train", () => {
  test("1.3 billion parameters on 8 ranks", () => {
    const [best, ...others] = designKraken({ targetParams: 1.3e9, ranks: 8 });
    const { config, perRank } = best!;
    assert.equal(config.ways, 8);
    assert.equal(config.layers, 24);
    assert.equal(config.hiddenSize, 896);
    assert.equal(config.heads * config.headDim, 896);
    assert.equal(best!.parameters, parameterCount(config));
    // By hand, with 2048 positions: embeddings and the last norm are whole, (51200 + 2048 + 1)·896 elements; of the
    // ways each rank has one: 24·(8·896² + 2·896) and a conjunction of 896².
    assert.equal(perRank.weightBytes, 2 * (53_249 * 896 + 24 * (8 * 896 ** 2 + 2 * 896) + 896 ** 2));
    assert.equal(perRank.kvBytesPerToken, 2 * 24 * 896 * 2);
    assert.equal(perRank.kvBytes, perRank.kvBytesPerToken * 2048);
    assert.ok(others.length > 0);
  });

  test("every design is valid, near its target, with heads that kernels like", () => {
    for (const targetParams of [3e7, 125e6, 760e6, 7e9, 70e9, 400e9]) {
      for (const ranks of [2, 4, 8]) {
        for (const { config, deviation } of designKraken({ targetParams, ranks })) {
          validateModelConfig(config);
          assert.ok(config.headDim % 8 === 0 && config.headDim >= 64 && config.headDim <= 128);
          assert.ok(Math.abs(deviation) < 0.2, `${targetParams} on ${ranks}: off by ${deviation}`);
        }
        const { config, deviation } = designKraken({ targetParams, ranks })[0]!;
        assert.ok(Math.abs(deviation) < 0.05, `${targetParams} on ${ranks}: off by ${deviation}`);
        if (targetParams >= 125e6) assert.ok([64, 80, 96, 128].includes(config.headDim));
      }
    }
  });

  test("more ways than ranks: a rank holds several", () => {
    const [one] = designKraken({ targetParams: 1.3e9, ranks: 8, ways: 8 });
    const [two] = designKraken({ targetParams: 1.3e9, ranks: 4, ways: 8 });
    assert.deepEqual(two!.config, one!.config);
    assert.equal(two!.perRank.kvBytesPerToken, 2 * one!.perRank.kvBytesPerToken);
  });

  test("a given depth and context are kept", () => {
    const { config, perRank } = designKraken({
      targetParams: 1e9,
      ranks: 4,
      layers: 17,
      contextLength: 512,
    })[0]!;
    assert.equal(config.layers, 17);
    assert.equal(config.maxPositions, 512);
    assert.equal(perRank.kvBytes, 512 * perRank.kvBytesPerToken);
  });

  test("depths are GPT-3's at its sizes", () => {
    for (const [parameters, layers] of [
      [1.3135e9, 24],
      [6.652e9, 32],
      [12.845e9, 40],
      [174.57e9, 96],
    ] as const) {
      assert.equal(usualLayers(parameters), layers);
    }
  });

  test("what cannot be", () => {
    const design = (options: object) => () => designKraken({ targetParams: 1.3e9, ranks: 8, ...options });
    assert.throws(design({ ways: 12 }), { code: "ERR_RANKS", message: /must divide `ways` \(12\): got 8/ });
    assert.throws(design({ targetParams: -1 }), { code: "ERR_OPTION", message: /`targetParams`.*got -1/ });
    assert.throws(design({ targetParams: 2e6 }), { code: "ERR_OPTION", message: /no Kraken of 8 ways/ });
    assert.throws(design({ ranks: 0 }), { code: "ERR_OPTION", message: /`ranks`/ });
  });
});

const near = (actual: number, expected: number, tolerance: number) =>
  assert.ok(Math.abs(actual / expected - 1) < tolerance, `${actual} is not ${expected}`);

describe("break-even", () => {
  const hardware = hardwarePreset("a100-40gb");
  /** A Kraken so wide that it computes longer, and a long prompt: nothing but the last all-reduce is exposed. */
  const contest = (krakenWidth: number): Contest => {
    const question = { layers: 32, ranks: 4, contextLength: 2048, hardware };
    return {
      standard: { ...question, architecture: "gpt", hiddenSize: 4096 },
      kraken: { ...question, architecture: "kraken", hiddenSize: krakenWidth },
    };
  };
  const compute = ({ standard, kraken }: Contest) =>
    (predictTtft({ ...kraken, communication: "none" }).ttftMs -
      predictTtft({ ...standard, communication: "none" }).ttftMs) /
    1e3;
  // Equal when 2L·(a + c·S·D·b/W) − (a + c·S·d·b/W) is what Kraken computes longer; c = 2·3/4.
  const sent = (width: number) => 1.5 * 2048 * width * 2;

  test("the bandwidth, by the formula", () => {
    const wide = contest(2816);
    const expected = (64 * sent(4096) - sent(2816)) / (compute(wide) - 63 * 10e-6);
    const found = breakEvenBandwidth(wide);
    assert.ok(found.wins === "beyond");
    near(found.at, expected, 1e-6);
  });

  test("the latency, by the formula", () => {
    const wider = contest(3072);
    const bytesPerSecond = 1e12;
    const fast = { ...hardware, link: { ...hardware.link, bytesPerSecond } };
    const on = {
      standard: { ...wider.standard, hardware: fast },
      kraken: { ...wider.kraken, hardware: fast },
    };
    const expected = (compute(wider) - (64 * sent(4096) - sent(3072)) / bytesPerSecond) / 63;
    const found = breakEvenLatency(on);
    assert.ok(found.wins === "beyond");
    near(found.at, expected, 1e-6);
  });

  test("at the point itself neither is first; slower, Kraken is", () => {
    const { standard, kraken } = contest(2816);
    const found = breakEvenBandwidth({ standard, kraken });
    assert.ok(found.wins === "beyond");
    const lead = (bytesPerSecond: number) => {
      const at = { ...hardware, link: { ...hardware.link, bytesPerSecond } };
      return (
        predictTtft({ ...standard, hardware: at }).ttftMs - predictTtft({ ...kraken, hardware: at }).ttftMs
      );
    };
    assert.ok(Math.abs(lead(found.at)) < 1e-4);
    assert.ok(lead(found.at / 2) > 0 && lead(found.at * 2) < 0);
  });

  test("always and never", () => {
    assert.deepEqual(breakEvenBandwidth(contest(1024)), { wins: "always" });
    const { standard, kraken } = contest(8192); // more arithmetic on 4 ranks than the other has on one
    assert.deepEqual(breakEvenBandwidth({ standard: { ...standard, ranks: 1 }, kraken }), { wins: "never" });
  });
});

describe("calibration", () => {
  const hardware = hardwarePreset("a100-40gb");
  const truth = { flop: 0.43, link: 0.61, hbm: 0.72 };
  const rows = (rankCounts: readonly number[]): MeasuredRow[] =>
    (["gpt", "kraken"] as const).flatMap((architecture) =>
      rankCounts.flatMap((ranks) =>
        [16, 256, 2048].map((contextLength) => {
          const ways = architecture === "kraken" ? 4 : 1;
          const hiddenSize = architecture === "kraken" ? 1280 : 2048;
          const question = { architecture, layers: 24, hiddenSize, ways, ranks, contextLength };
          const { ttftMs } = predictTtft({ ...question, hardware, efficiencies: truth });
          return { ...question, medianMs: ttftMs };
        }),
      ),
    );

  test("finds the efficiencies that made the times", () => {
    const { efficiencies, rmsError, determined, ratios } = calibrate(rows([1, 4]), hardware);
    for (const key of ["flop", "link", "hbm"] as const) near(efficiencies[key], truth[key], 0.005);
    assert.ok(rmsError < 1e-3);
    assert.deepEqual(determined, { flop: true, link: true, hbm: true });
    for (const ratio of ratios) near(ratio, 1, 0.005);
  });

  test("noise of 5 % moves them by little", () => {
    const noisy = rows([1, 4]).map((row, i) => ({ ...row, medianMs: row.medianMs * (i % 2 ? 1.05 : 0.95) }));
    const { efficiencies, rmsError } = calibrate(noisy, hardware);
    for (const key of ["flop", "link", "hbm"] as const) near(efficiencies[key], truth[key], 0.15);
    assert.ok(rmsError > 0.02 && rmsError < 0.06);
  });

  test("one rank says nothing of the link, and a machine that is no A100 is noticed", () => {
    const alone = calibrate(rows([1]), hardware);
    assert.deepEqual(alone.determined, { flop: true, link: false, hbm: true });
    assert.equal(alone.efficiencies.link, 1);
    assert.deepEqual(alone.atBound, []);
    const slow = rows([1]).map((row) => ({ ...row, medianMs: row.medianMs * 1e5 }));
    assert.ok(calibrate(slow, hardware).atBound.length > 0);
  });
});

describe("measured rows", () => {
  const row = {
    architecture: "kraken",
    config: { layers: 12, hiddenSize: 504, ways: 4, vocabSize: 50304 },
    ranks: 2,
    context: 128,
    medianMs: 12.5,
  };

  test("are read, as a list or under rows", () => {
    const [read] = parseMeasured([row], "bench.json", 4);
    assert.deepEqual(parseMeasured({ rows: [row], more: 1 }, "bench.json", 4), [read]);
    assert.equal(read!.contextLength, 128);
    assert.equal(read!.ways, 4);
    assert.equal(read!.dtypeBytes, 4);
    assert.equal(parseMeasured([{ ...row, dtype: "bfloat16" }], "bench.json", 4)[0]!.dtypeBytes, 2);
  });

  for (const [name, json, code, message] of [
    ["none", [], "ERR_OPTION", /bench\.json has no measured rows/],
    ["a number", 3, "ERR_OPTION", /`bench\.json` must be an object, got 3/],
    [
      "no time",
      [row, { ...row, medianMs: undefined }],
      "ERR_OPTION",
      /`bench\.json: rows\[1\]\.medianMs` is missing/,
    ],
    [
      "a time below 0",
      [{ ...row, medianMs: -1 }],
      "ERR_OPTION",
      /medianMs` must be a positive number, got -1/,
    ],
    ["no config", [{ ...row, config: undefined }], "ERR_OPTION", /rows\[0\]\.config` must be an object/],
    ["a misspelt architecture", [{ ...row, architecture: "karken" }], "ERR_OPTION", /did you mean kraken\?/],
    ["ranks that do not divide", [{ ...row, ranks: 3 }], "ERR_RANKS", /must divide the ways \(4\): got 3/],
    [
      "an unknown dtype",
      [{ ...row, dtype: "int8" }],
      "ERR_OPTION",
      /rows\[0\]\.dtype` must be one of float32/,
    ],
  ] as const) {
    test(name, () => {
      assert.throws(() => parseMeasured(json, "bench.json"), { code, message });
    });
  }
});
