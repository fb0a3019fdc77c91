/** Our own config.json (lib/checkpoint/kraken-config.ts), beside tensors of the authors' names. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { openCheckpoint } from "../../lib/checkpoint/open.js";
import { referenceLogits } from "../../lib/reference.js";
import {
  safetensors,
  type TestTensor,
  temporaryDirectory,
  transformerTensors,
} from "../helpers/checkpoints.js";
import { tensorReader } from "../helpers/tensors.js";

const sizes = { n_layer: 2, n_head: 2, n_embd: 10, n_positions: 12, vocab_size: 17 };
const open = (tensors: Record<string, TestTensor>, config: object) => {
  const here = temporaryDirectory();
  here.write("model.safetensors", safetensors(tensors));
  here.write("config.json", { ...sizes, ...config });
  return openCheckpoint(here.path);
};
const kraken = { model_type: "kraken", n_way: 2 };

describe("config.json of kraken-engine", () => {
  test("only sizes are needed", async () => {
    const { config } = await open(transformerTensors({ ways: 2 }), kraken);
    assert.ok(config.architecture === "kraken" && config.ways === 2 && !config.conjunctionBias);
    assert.deepEqual([config.ffnSize, config.headDim, config.tiedHead], [30, 5, true]);
    assert.deepEqual(config.norm, { kind: "layer", eps: 1e-5, bias: false });
    const { config: biased } = await open(transformerTensors({ ways: 2, bias: true }), kraken);
    assert.ok(
      biased.architecture === "kraken" && biased.conjunctionBias && biased.norm.bias && biased.bias.mlp,
    );
  });

  test("gpt, ladder, parallel with one norm and with two", async () => {
    for (const model_type of ["gpt", "ladder", "parallel"]) {
      const { config } = await open(transformerTensors(), { model_type });
      assert.equal(config.architecture, model_type);
      if (config.architecture === "parallel") assert.ok(config.separateNorms);
    }
    const tensors = Object.entries(transformerTensors()).filter(([name]) => !name.includes("ln_2"));
    const { config } = await open(Object.fromEntries(tensors), { model_type: "parallel" });
    assert.ok(config.architecture === "parallel" && !config.separateNorms);
  });

  test("rotary positions, SwiGLU, RMSNorm, fewer key/value heads, head_dim, a head of its own", async () => {
    const tensors = transformerTensors({ ways: 2, lmHead: true });
    delete tensors["transformer.wpe.weight"];
    for (const at of ["0.0", "0.1", "1.0", "1.1"]) {
      tensors[`transformer.h.${at}.mlp.c_gate.weight`] = { shape: [30, 10] };
      tensors[`transformer.h.${at}.attn.c_attn.weight`] = { shape: [(2 + 2 * 1) * 6, 10] };
      tensors[`transformer.h.${at}.attn.c_proj.weight`] = { shape: [10, 12] };
    }
    const index = await open(tensors, {
      ...kraken,
      norm: "rms",
      layer_norm_epsilon: 1e-6,
      activation: "swiglu",
      position: "rotary",
      rotary_dim: 4,
      rotary_base: 500,
      rotary_interleaved: true,
      n_kv_head: 1,
      head_dim: 6,
      tie_word_embeddings: false,
      eos_token_id: 3,
    });
    const { config } = index;
    assert.deepEqual(config.positions, { kind: "rotary", dims: 4, base: 500, interleaved: true });
    assert.deepEqual([config.kvHeads, config.headDim, config.tiedHead], [1, 6, false]);
    assert.deepEqual(config.norm, { kind: "rms", eps: 1e-6, bias: false });
    assert.deepEqual(index.eosTokenIds, [3]);
    assert.ok(referenceLogits(config, tensorReader(index), [1, 2, 3]).every(Number.isFinite));
  });

  test("a tied head stored twice counts once", async () => {
    const { config, tensors } = await open(transformerTensors({ ways: 2, lmHead: true }), {
      ...kraken,
      tie_word_embeddings: true,
    });
    assert.ok(config.tiedHead);
    assert.deepEqual(tensors["head.weight"], tensors["embed.tokens"]);
  });

  test("vocabularies name their tokenizer", async () => {
    const bytes = await open(transformerTensors({ vocab: 256 }), { model_type: "gpt", vocab_size: 256 });
    assert.deepEqual(bytes.tokenizer, { kind: "bytes" });
    for (const vocab of [50257, 50304]) {
      const index = await open(transformerTensors({ vocab }), { model_type: "gpt", vocab_size: vocab });
      assert.deepEqual(index.tokenizer, { kind: "gpt2" });
      assert.deepEqual([index.eosTokenIds, index.bosTokenId], [[50256], 50256]);
    }
  });

  test("settings that do not fit", async () => {
    const tensors = transformerTensors({ ways: 2 });
    const rejects = (config: object, code: string, message: RegExp) =>
      assert.rejects(open(tensors, { ...kraken, ...config }), { code, message });
    await rejects({ n_way: undefined }, "ERR_CONFIG", /`n_way` is missing/);
    await rejects({ n_way: 3 }, "ERR_CHECKPOINT_TENSORS", /h\.2\.0\.ln_1\.weight is missing/);
    await rejects({ n_head: 3 }, "ERR_CONFIG", /3 heads do not divide a width of 10/);
    await rejects({ activation: "relu" }, "ERR_CONFIG", /"relu", supported: gelu_tanh, gelu_erf, swiglu/);
    await rejects({ activation: "swiglu" }, "ERR_CHECKPOINT_TENSORS", /c_gate\.weight is missing/);
    await rejects({ position: "alibi" }, "ERR_CONFIG", /"alibi"/);
    await rejects({ position: "rotary" }, "ERR_CONFIG", /positions\.dims.*even/);
    await rejects(
      { position: "rotary", rotary_dim: 4 },
      "ERR_CHECKPOINT_TENSORS",
      /wpe\.weight is not known/,
    );
    await rejects({ norm: "batch" }, "ERR_CONFIG", /"batch"/);
    await rejects({ bias: true }, "ERR_CHECKPOINT_TENSORS", /bias is missing/);
    await rejects({ model_type: "gpt" }, "ERR_CHECKPOINT_TENSORS", /missing/);
  });
});
