import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { canonicalShapes } from "../../lib/checkpoint/canonical.js";
import { type ModelConfig, parameterCount, validateModelConfig, waysOf } from "../../lib/model-config.js";
import { preset } from "../../lib/presets.js";

const kraken = () => preset("kraken-tiny-2way").config;

describe("validateModelConfig", () => {
  test("passes what fits", () => {
    assert.equal(waysOf(validateModelConfig(kraken())), 2);
    const positions = {
      kind: "rotary",
      dims: 4,
      base: 10000,
      interleaved: false,
      frequencyScale: [1, 0.5],
    } as const;
    const rotary = { ...kraken(), positions } as unknown as ModelConfig;
    assert.equal(validateModelConfig(rotary), rotary);
  });

  for (const [what, change, message] of [
    ["no layers", { layers: 0 }, /`layers` must be a positive integer, got 0/],
    ["half a head", { heads: 1.5 }, /`heads`/],
    ["sizes that are text", { hiddenSize: "38" }, /`hiddenSize`/],
    ["sizes beyond reason", { vocabSize: 2 ** 40 }, /`vocabSize`/],
    ["no ways", { ways: undefined }, /`ways`/],
    ["kvHeads that do not divide", { heads: 3, kvHeads: 2 }, /`kvHeads` \(2\) must divide `heads` \(3\)/],
    [
      "an unknown architecture",
      { architecture: "moe" },
      /`architecture` must be one of kraken, gpt, parallel, ladder, got moe/,
    ],
    ["an unknown activation", { activation: "relu" }, /`activation`/],
    ["no norm", { norm: undefined }, /`norm\.kind`/],
    ["a negative eps", { norm: { kind: "layer", eps: -1, bias: true } }, /`norm\.eps`/],
    [
      "odd rotary dims",
      { positions: { kind: "rotary", dims: 3, base: 1e4, interleaved: true } },
      /`positions\.dims` must be even/,
    ],
    [
      "rotary dims beyond the head",
      { positions: { kind: "rotary", dims: 20, base: 1e4, interleaved: true } },
      /at most headDim \(19\)/,
    ],
    [
      "no rotary base",
      { positions: { kind: "rotary", dims: 4, base: 0, interleaved: true } },
      /`positions\.base`/,
    ],
    [
      "too few scales",
      { positions: { kind: "rotary", dims: 4, base: 1, interleaved: true, frequencyScale: [1] } },
      /must have 2 entries, got 1/,
    ],
    [
      "scales of NaN",
      { positions: { kind: "rotary", dims: 2, base: 1, interleaved: true, frequencyScale: [Number.NaN] } },
      /finite/,
    ],
  ] as const) {
    test(`refuses ${what}`, () => {
      const config = { ...kraken(), ...change } as unknown as ModelConfig;
      assert.throws(() => validateModelConfig(config), {
        name: "CheckpointError",
        code: "ERR_CONFIG",
        message,
      });
    });
  }
});

describe("parameterCount", () => {
  test("counts the canonical tensors, a tied head once", () => {
    for (const name of ["kraken-tiny-4way", "gpt-tiny", "parallel-tiny", "ladder-tiny", "parallel-125m"]) {
      const { config } = preset(name);
      for (const changed of [
        config,
        { ...config, activation: "swiglu", kvHeads: 1, bias: { ...config.bias, mlp: true } },
        { ...config, tiedHead: false, norm: { kind: "rms", eps: 1e-6, bias: false } },
        { ...config, positions: { kind: "rotary", dims: 2, base: 10000, interleaved: false } },
      ] as ModelConfig[]) {
        let elements = 0;
        for (const [tensor, shape] of canonicalShapes(changed)) {
          if (!(changed.tiedHead && tensor === "head.weight")) elements += shape.reduce((a, b) => a * b, 1);
        }
        assert.equal(parameterCount(changed), elements, name);
      }
    }
  });
});
