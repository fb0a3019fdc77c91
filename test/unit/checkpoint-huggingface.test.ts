import assert from "node:assert/strict";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { openCheckpoint } from "../../lib/checkpoint/open.js";
import { readSafetensors } from "../../lib/checkpoint/safetensors.js";
import type { PositionConfig } from "../../lib/model-config.js";
import { safetensors, type TestTensor, temporaryDirectory, torchCheckpoint } from "../helpers/checkpoints.js";
import { elementsOf, tensorReader } from "../helpers/tensors.js";

const fixtures = join(import.meta.dirname, "../fixtures");
const configOf = (name: string) => JSON.parse(readFileSync(join(fixtures, name, "config.json"), "utf8"));

/** A fixture with some keys of its config.json changed; undefined removes one. */
function changed(name: string, changes: Record<string, unknown>): string {
  const here = temporaryDirectory();
  copyFileSync(join(fixtures, name, "model.safetensors"), join(here.path, "model.safetensors"));
  here.write("config.json", { ...configOf(name), ...changes });
  return here.path;
}

/** A fixture's tensors by other names, in another format. */
async function renamed(
  name: string,
  rename: (tensor: string) => string | undefined,
): Promise<Record<string, TestTensor>> {
  const tensors: Record<string, TestTensor> = {};
  for (const [from, { elementBytes: _, ...view }] of await readSafetensors(
    join(fixtures, name, "model.safetensors"),
  )) {
    const to = rename(from);
    if (to)
      tensors[to] = {
        shape: view.shape,
        values: [...elementsOf(from, { source: "file", ...view, dtype: "float32" })],
      };
  }
  return tensors;
}

const rejects = (path: string, code: string, message: RegExp) =>
  assert.rejects(openCheckpoint(path), (error: Error & { code: string }) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });

describe("configurations of Hugging Face models", () => {
  test("gpt2", async () => {
    const { config, eosTokenIds, bosTokenId, tokenizer, description } = await openCheckpoint(
      join(fixtures, "hf-gpt2"),
    );
    assert.deepEqual(config, {
      architecture: "gpt",
      layers: 3,
      hiddenSize: 48,
      heads: 3,
      kvHeads: 3,
      headDim: 16,
      ffnSize: 192,
      vocabSize: 211,
      maxPositions: 64,
      norm: { kind: "layer", eps: 1e-5, bias: true },
      activation: "gelu_tanh",
      positions: { kind: "learned" },
      bias: { qkv: true, attnProj: true, mlp: true, head: false },
      tiedHead: true,
    });
    assert.deepEqual(
      { eosTokenIds, bosTokenId, tokenizer },
      { eosTokenIds: [0], bosTokenId: 0, tokenizer: undefined },
    );
    assert.equal(description, "safetensors checkpoint of a gpt2 model");
  });

  test("gptj", async () => {
    const { config } = await openCheckpoint(join(fixtures, "hf-gptj"));
    assert.ok(config.architecture === "parallel" && !config.separateNorms);
    assert.deepEqual(config.positions, { kind: "rotary", dims: 8, base: 10000, interleaved: true });
    assert.deepEqual(config.bias, { qkv: false, attnProj: false, mlp: true, head: true });
    assert.equal(config.tiedHead, false);
    await assert.rejects(openCheckpoint(join(fixtures, "hf-gptj"), { architecture: "ladder" }), {
      code: "ERR_CONFIG",
      message: /one norm/,
    });
  });

  test("gpt_neox", async () => {
    const { config } = await openCheckpoint(join(fixtures, "hf-gpt-neox"));
    assert.ok(config.architecture === "parallel" && config.separateNorms);
    assert.equal(config.activation, "gelu_erf");
    assert.deepEqual(config.bias, { qkv: true, attnProj: true, mlp: true, head: false });
  });

  test("llama", async () => {
    const { config } = await openCheckpoint(join(fixtures, "hf-llama-gqa"));
    assert.equal(config.architecture, "gpt");
    assert.deepEqual(config.norm, { kind: "rms", eps: 1e-6, bias: false });
    assert.deepEqual([config.activation, config.heads, config.kvHeads, config.headDim], ["swiglu", 8, 2, 8]);
    assert.deepEqual(config.positions, { kind: "rotary", dims: 8, base: 10000, interleaved: false });
  });
});

describe("rotary settings", () => {
  const positions = async (name: string, changes: Record<string, unknown>) =>
    (await openCheckpoint(changed(name, { rope_parameters: undefined, ...changes }))).config.positions;
  const rotary = (changes: object): PositionConfig => ({
    kind: "rotary",
    dims: 8,
    base: 10000,
    interleaved: false,
    ...changes,
  });

  test("of transformers before 5", async () => {
    const neox = { rotary_pct: 0.5, rotary_emb_base: 500 };
    assert.deepEqual(await positions("hf-gpt-neox", neox), rotary({ dims: 6, base: 500 }));
    assert.deepEqual(await positions("hf-llama-gqa", { rope_theta: 1e6 }), rotary({ base: 1e6 }));
    assert.deepEqual(await positions("hf-llama-gqa", {}), rotary({}));
    assert.deepEqual(
      await positions("hf-llama-gqa", { rope_scaling: { type: "linear", factor: 4 } }),
      rotary({ frequencyScale: [0.25, 0.25, 0.25, 0.25] }),
    );
    assert.deepEqual(await positions("hf-llama-gqa", { rope_scaling: null }), rotary({}));
  });

  test("an odd number of rotated dimensions, as transformers rotates them", async () => {
    // 12 · 0.25 = 3 dimensions: two pairs, at frequencies base^0 and base^(−2/3).
    const { frequencyScale, ...rest } = (await openCheckpoint(join(fixtures, "hf-gpt-neox"))).config
      .positions as {
      frequencyScale: number[];
    };
    assert.deepEqual(rest, rotary({ dims: 4 }));
    assert.ok(Math.abs(frequencyScale[1]! * 10000 ** -0.5 - 10000 ** (-2 / 3)) < 1e-18);
  });

  test("llama3 scaling", async () => {
    // inv_freq of transformers 5.23 for this setting, over the unscaled one.
    const scaling = {
      rope_type: "llama3",
      rope_theta: 500,
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    };
    const expected = [1, 0.1474669447517918, 0.125, 0.125];
    const { frequencyScale } = (await positions("hf-llama-gqa", { rope_parameters: scaling })) as {
      frequencyScale: number[];
    };
    for (const [i, scale] of expected.entries()) assert.ok(Math.abs(frequencyScale[i]! - scale) < 1e-12);
    const { factor: _, ...missing } = scaling;
    await rejects(
      changed("hf-llama-gqa", { rope_parameters: missing }),
      "ERR_CONFIG",
      /rope_parameters: `factor` is missing/,
    );
  });

  test("others are refused by name", async () => {
    const yarn = { rope_type: "yarn", factor: 4 };
    await rejects(
      changed("hf-llama-gqa", { rope_parameters: yarn }),
      "ERR_CONFIG",
      /"yarn" is not supported/,
    );
  });
});

describe("variants", () => {
  test("sequential gpt_neox is a gpt; it and llama run as ladder and parallel", async () => {
    const sequential = changed("hf-gpt-neox", { use_parallel_residual: false });
    assert.equal((await openCheckpoint(sequential)).config.architecture, "gpt");
    const ladder = await openCheckpoint(join(fixtures, "hf-gpt-neox"), { architecture: "ladder" });
    assert.equal(ladder.config.architecture, "ladder");
    assert.equal("separateNorms" in ladder.config, false);
    await openCheckpoint(join(fixtures, "hf-llama-gqa"), { architecture: "parallel" });
  });

  test("gpt2 without the transformer. prefix, with masks; from pytorch_model.bin", async () => {
    const plain = await openCheckpoint(join(fixtures, "hf-gpt2"));
    const tensors = await renamed("hf-gpt2", (name) => name.replace(/^transformer\./, ""));
    const here = temporaryDirectory();
    here.write("config.json", configOf("hf-gpt2"));
    const masks = { "h.0.attn.bias": { shape: [1, 1, 64, 64] }, "h.0.attn.masked_bias": { shape: [] } };
    here.write(
      "pytorch_model.bin",
      torchCheckpoint({ ...tensors, ...masks, "lm_head.weight": tensors["wte.weight"]! }),
    );
    const index = await openCheckpoint(here.path);
    assert.equal(index.description, "PyTorch checkpoint of a gpt2 model");
    assert.deepEqual(index.config, plain.config);
    for (const name of ["head.weight", "layers.2.ways.0.attn.k.weight", "layers.1.ways.0.attn.v.bias"]) {
      assert.deepEqual(tensorReader(index)(name), tensorReader(plain)(name), name);
    }
  });

  test("a tied llama has no lm_head", async () => {
    const here = temporaryDirectory();
    here.write(
      "model.safetensors",
      safetensors(await renamed("hf-llama-gqa", (name) => (name === "lm_head.weight" ? undefined : name))),
    );
    here.write("config.json", { ...configOf("hf-llama-gqa"), tie_word_embeddings: true });
    const { config, tensors } = await openCheckpoint(here.path);
    assert.ok(config.tiedHead);
    assert.deepEqual(tensors["head.weight"], tensors["embed.tokens"]);
    here.write("config.json", configOf("hf-llama-gqa"));
    await rejects(here.path, "ERR_CHECKPOINT_TENSORS", /lm_head\.weight is missing/);
  });

  test("the ends of texts: generation_config.json first, several, none", async () => {
    const path = changed("hf-llama-gqa", { eos_token_id: [2, 3], bos_token_id: 1 });
    assert.deepEqual((await openCheckpoint(path)).eosTokenIds, [2, 3]);
    writeFileSync(
      join(path, "generation_config.json"),
      JSON.stringify({ eos_token_id: 7, bos_token_id: null }),
    );
    const { eosTokenIds, bosTokenId } = await openCheckpoint(path);
    assert.deepEqual({ eosTokenIds, bosTokenId }, { eosTokenIds: [7], bosTokenId: 1 });
    // GPT-2's default id lies beyond a small vocabulary.
    const none = await openCheckpoint(changed("hf-gpt2", { eos_token_id: 50256, bos_token_id: null }));
    assert.deepEqual({ eos: none.eosTokenIds, bos: none.bosTokenId }, { eos: [], bos: undefined });
    await rejects(changed("hf-gpt2", { eos_token_id: "end" }), "ERR_CONFIG", /eos_token_id/);
  });

  test("a tokenizer.json beside it is its tokenizer, and knows the end of a text", async () => {
    const path = changed("hf-gpt2", { eos_token_id: null, bos_token_id: null });
    const added_tokens = [{ id: 9, content: "<|endoftext|>", special: true }];
    writeFileSync(join(path, "tokenizer.json"), JSON.stringify({ added_tokens, model: {} }));
    const { tokenizer, eosTokenIds } = await openCheckpoint(path);
    assert.deepEqual(tokenizer, { kind: "file", file: join(path, "tokenizer.json") });
    assert.deepEqual(eosTokenIds, [9]);
  });
});

describe("bad Hugging Face checkpoints", () => {
  test("what the engine does not have", async () => {
    for (const [name, changes, message] of [
      ["hf-gpt2", { model_type: "bert" }, /"bert", supported: gpt2, gptj, gpt_neox, llama, kraken/],
      ["hf-gpt2", { model_type: undefined }, /`model_type` is missing/],
      ["hf-gpt2", { activation_function: "relu" }, /"relu", supported: gelu_new/],
      ["hf-gpt2", { scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
      ["hf-gpt2", { scale_attn_weights: false }, /scale_attn_weights/],
      ["hf-gpt2", { n_head: 5 }, /5 heads do not divide a width of 48/],
      ["hf-gpt2", { n_layer: 0 }, /`n_layer` must be a positive integer, got 0/],
      ["hf-gpt2", { n_embd: "48" }, /`n_embd` must be a positive integer, got "48"/],
      ["hf-llama-gqa", { hidden_act: "gelu" }, /"gelu", supported: silu/],
      ["hf-llama-gqa", { num_key_value_heads: 3 }, /must divide/],
      ["hf-gpt-neox", { use_parallel_residual: "yes" }, /true or false, got "yes"/],
    ] as const) {
      await rejects(changed(name, changes), "ERR_CONFIG", message);
    }
    const quantised = changed("hf-llama-gqa", { quantization_config: { bits: 4 } });
    await rejects(quantised, "ERR_CHECKPOINT_DTYPE", /quantised/);
  });

  test("tensors that contradict the configuration, by name", async () => {
    await rejects(
      changed("hf-gpt2", { n_layer: 4 }),
      "ERR_CHECKPOINT_TENSORS",
      /transformer\.h\.3\.ln_1\.weight is missing.*and 7 more/,
    );
    await rejects(
      changed("hf-gptj", { n_layer: 2 }),
      "ERR_CHECKPOINT_TENSORS",
      /transformer\.h\.2\.\S+ is not known/,
    );
    await rejects(
      changed("hf-gpt-neox", { vocab_size: 161 }),
      "ERR_CHECKPOINT_TENSORS",
      /embed_in\.weight has shape \[160,48\], expected \[161,48\]/,
    );
    await rejects(
      changed("hf-llama-gqa", { attention_bias: true }),
      "ERR_CHECKPOINT_TENSORS",
      /q_proj\.bias is missing \(expected \[64\]\)/,
    );
  });

  test("a config.json that is no JSON object", async () => {
    const path = changed("hf-gpt2", {});
    for (const text of ["", "{", "[]", "null", "3"]) {
      writeFileSync(join(path, "config.json"), text);
      await rejects(path, "ERR_CONFIG", /config\.json/);
    }
  });
});
