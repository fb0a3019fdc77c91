import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkCanonicalTensors } from "../../lib/checkpoint/canonical.js";
import { parameterCount, validateModelConfig, waysOf } from "../../lib/model-config.js";
import { preset, presetNames } from "../../lib/presets.js";
import { referenceLogits } from "../../lib/reference.js";
import { elementsOf, tensorReader } from "../helpers/tensors.js";

describe("presets", () => {
  // The paper's budget, V·d + L·N·8d², of the configurations its authors trained (arXiv 2408.07802).
  for (const [name, millions, headDim] of [
    ["kraken-125m-2way", 122.4, 113],
    ["kraken-125m-4way", 122.9, 168],
    ["kraken-125m-6way", 121.7, 209],
    ["kraken-350m-2way", 347.5, 111],
    ["kraken-350m-4way", 350.9, 161],
    ["kraken-760m-4way", 756.1, 240],
  ] as const) {
    test(`${name} has the published number of parameters`, () => {
      const { config } = preset(name);
      const { layers, hiddenSize: d, vocabSize, maxPositions } = config;
      const ways = waysOf(config);
      assert.equal(config.headDim, headDim);
      const budget = vocabSize * d + layers * ways * 8 * d ** 2;
      assert.ok(Math.abs(budget / 1e6 - millions) < 0.05, `${budget} parameters`);
      const norms = (2 * layers * ways + 1) * d;
      assert.equal(parameterCount(config), budget + ways * d ** 2 + maxPositions * d + norms);
    });
  }

  test("the other architectures of a size are within 2 % of it", () => {
    for (const [size, kraken] of [
      ["125m", "kraken-125m-2way"],
      ["350m", "kraken-350m-4way"],
      ["760m", "kraken-760m-4way"],
    ] as const) {
      const wanted = parameterCount(preset(kraken).config);
      for (const architecture of ["gpt", "parallel", "ladder"]) {
        const { config } = preset(`${architecture}-${size}`);
        assert.equal(config.architecture, architecture);
        const ratio = parameterCount(config) / wanted;
        assert.ok(Math.abs(ratio - 1) < 0.02, `${architecture}-${size} is ${ratio} of ${kraken}`);
      }
    }
  });

  test("gpt2-124m is GPT-2", () => {
    assert.equal(parameterCount(preset("gpt2-124m").config), 124_439_808);
  });

  test("every one is complete and valid", () => {
    for (const name of presetNames) {
      const index = preset(name, { seed: 3 });
      validateModelConfig(index.config);
      checkCanonicalTensors(index.config, index.tensors);
      assert.ok(index.tokenizer);
    }
  });

  test("start as training does: norms 1, biases 0, deviations 0.02, less for residual projections", () => {
    const { tensors } = preset("gpt2-124m", { seed: 5 });
    assert.deepEqual(tensors["layers.3.ways.0.norm1.weight"], { source: "constant", value: 1, shape: [768] });
    assert.deepEqual(tensors["layers.3.ways.0.mlp.up.bias"], { source: "constant", value: 0, shape: [3072] });
    assert.deepEqual(tensors["embed.positions"], {
      source: "random",
      seed: 5,
      std: 0.02,
      shape: [1024, 768],
    });
    const deviation = (name: string, tensor: string) => (preset(name).tensors[tensor] as { std: number }).std;
    assert.equal(deviation("gpt2-124m", "layers.0.ways.0.attn.proj.weight"), 0.02 / Math.sqrt(24));
    assert.equal(deviation("kraken-125m-2way", "layers.0.ways.1.mlp.down.weight"), 0.02 / Math.sqrt(24));
    assert.equal(deviation("kraken-125m-2way", "conjunction.weight"), 0.02);
  });

  test("a tied head has the embedding's elements", () => {
    const index = preset("kraken-tiny-2way", { seed: 1 });
    const read = tensorReader(index);
    assert.deepEqual(read("head.weight"), read("embed.tokens"));
    assert.notDeepEqual(read("layers.0.ways.0.attn.q.weight"), read("layers.0.ways.1.attn.q.weight"));
  });

  test("random elements are the documented function of seed, name and index", () => {
    const elements = elementsOf("embed.tokens", { source: "random", seed: 1, std: 0.02, shape: [100, 100] });
    // Computed by a C program from the definition in checkpoint-index.ts.
    assert.deepEqual([...elements.subarray(0, 4)], pinned);
    const mean = elements.reduce((a, b) => a + b, 0) / elements.length;
    const std = Math.sqrt(elements.reduce((a, b) => a + (b - mean) ** 2, 0) / elements.length);
    assert.ok(Math.abs(mean) < 1e-3 && Math.abs(std - 0.02) < 5e-4, `mean ${mean}, deviation ${std}`);
    const other = elementsOf("embed.tokens", { source: "random", seed: 2, std: 0.02, shape: [1] });
    assert.notEqual(other[0], elements[0]);
  });

  test("tiny ones give logits that depend on every token before", () => {
    for (const name of presetNames.filter((n) => n.includes("tiny"))) {
      const index = preset(name);
      const logits = (tokens: number[]) => referenceLogits(index.config, tensorReader(index), tokens);
      const [a, b] = [logits([5, 9, 100, 3]), logits([6, 9, 100, 3])];
      const last = index.config.vocabSize * 3;
      assert.ok(a.every(Number.isFinite), name);
      let difference = 0;
      for (let i = last; i < a.length; i++) difference = Math.max(difference, Math.abs(a[i]! - b[i]!));
      assert.ok(difference > 0.01, `${name}: the first token changes the last logits by ${difference} only`);
    }
  });

  test("an unknown name says which was meant", () => {
    assert.throws(() => preset("kraken-125m-2ways"), {
      code: "ERR_OPTION",
      message: /did you mean kraken-125m-2way\?/,
    });
    assert.throws(() => preset("llama"), { code: "ERR_OPTION", message: /unknown preset/ });
    assert.throws(() => preset("__proto__"), { code: "ERR_OPTION" });
    assert.throws(() => preset("gpt-tiny", { seed: -1 }), { code: "ERR_OPTION", message: /seed/ });
    assert.throws(() => preset("gpt-tiny", { seed: 0.5 }), { code: "ERR_OPTION" });
  });
});

const pinned = [0.051815636456012726, -0.020605633035302162, -0.01024546567350626, -0.031630225479602814];
