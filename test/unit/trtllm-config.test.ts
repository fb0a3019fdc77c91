/**
 * What TensorRT-LLM reads of config.json, against its parsing rules: which keys it requires and of which type, what it
 * computes from them for each rank. The double parses the same file in C++ (test/trtllm/double/json_config.cpp).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DType, type ModelConfig, waysOf } from "../../lib/model-config.js";
import { preset } from "../../lib/presets.js";
import { stepLimits } from "../../lib/step-limits.js";
import {
  checkNotTrtLlm,
  checkTrtLlmBuild,
  paddedHeadDim,
  trtllmConfig,
  trtllmLimits,
} from "../../lib/trtllm/config.js";

type Json = Record<string, unknown>;

/** Type of each key that parsing requires, by where it is. */
const required: Record<string, Record<string, string>> = {
  "": { version: "string", pretrained_config: "object", build_config: "object" },
  pretrained_config: {
    architecture: "string",
    dtype: "string",
    mapping: "object",
    num_hidden_layers: "integer",
    num_attention_heads: "integer",
    vocab_size: "integer",
    hidden_size: "integer",
    quantization: "object",
  },
  "pretrained_config.mapping": { tp_size: "integer" },
  build_config: {
    max_batch_size: "integer",
    max_beam_width: "integer",
    max_input_len: "integer",
    max_seq_len: "integer",
    max_num_tokens: "integer",
    kv_cache_type: "string",
    lora_config: "object",
    plugin_config: "object",
  },
  "build_config.plugin_config": {
    remove_input_padding: "boolean",
    paged_kv_cache: "boolean",
    tokens_per_block: "integer",
    context_fmha: "boolean",
    use_paged_context_fmha: "boolean",
  },
};

const kindOf = (value: unknown) =>
  value === null
    ? "null"
    : Number.isInteger(value)
      ? "integer"
      : Array.isArray(value)
        ? "array"
        : typeof value;

/** What is wrong with a configuration, by its rules; empty: nothing. */
function objections(config: Json): string[] {
  const found: string[] = [];
  const at = (path: string) =>
    path.split(".").reduce<Json>((json, key) => (key === "" ? json : ((json?.[key] ?? {}) as Json)), config);
  for (const [path, keys] of Object.entries(required)) {
    for (const [key, kind] of Object.entries(keys)) {
      const is = kindOf(at(path)[key]);
      if (is !== kind) found.push(`${path}.${key} is ${is}, not ${kind}`);
    }
  }
  const [pretrained, build] = [at("pretrained_config"), at("build_config")];
  const plugins = at("build_config.plugin_config");
  if (!["float32", "float16", "bfloat16"].includes(String(pretrained.dtype))) found.push("dtype");
  if (/GLM|Mamba|RecurrentGemma/.test(String(pretrained.architecture))) found.push("architecture");
  if (!["continuous", "paged", "disabled"].includes(String(build.kv_cache_type))) found.push("kv_cache_type");
  if (!("lora_plugin" in plugins) || !plugins.gpt_attention_plugin) found.push("plugins");
  const ranks = Number(at("pretrained_config.mapping").tp_size);
  for (const key of ["num_attention_heads", "hidden_size"]) {
    if (Number(pretrained[key]) % ranks !== 0) found.push(`${key} does not divide by ${ranks}`);
  }
  if (Number(build.max_input_len) > Number(build.max_seq_len)) found.push("max_input_len");
  return found;
}

const models: [string, number[]][] = [
  ["kraken-125m-2way", [1, 2]],
  ["kraken-125m-6way", [1, 2, 3, 6]],
  ["kraken-760m-4way", [1, 2, 4]],
  ["kraken-tiny-4way", [1, 2, 4]],
  ["gpt-125m", [1, 2, 4]],
  ["gpt2-124m", [1, 2, 4]],
  ["parallel-350m", [1, 2, 4, 8]],
  ["ladder-760m", [1, 2, 4, 8]],
];

function made(config: ModelConfig, ranks: number, dtype: Exclude<DType, "int8"> = "bfloat16") {
  const limits = trtllmLimits({}, stepLimits({}, config.maxPositions), dtype);
  return trtllmConfig(config, { ranks, dtype, limits, network: { StartNorm: 3, JoinNorm: 3, AllReduce: 1 } });
}

for (const [name, counts] of models) {
  test(`${name}: every key it requires, and sizes that its ranks divide`, () => {
    const { config } = preset(name);
    for (const ranks of counts) {
      for (const dtype of ["float32", "bfloat16", "float16"] as const) {
        const theirs = made(config, ranks, dtype);
        assert.equal(theirs.pretrained_config.dtype, dtype);
        assert.equal(theirs.build_config.plugin_config.gpt_attention_plugin, dtype);
        assert.equal(theirs.build_config.plugin_config.context_fmha, dtype !== "float32");
        assert.deepEqual(objections(theirs as unknown as Json), []);
        const { num_attention_heads, head_size, hidden_size } = theirs.pretrained_config;
        // What it computes for a rank: its heads, and the width of its residual streams.
        const ways = waysOf(config);
        assert.equal(num_attention_heads / ranks, (ways * config.heads) / ranks);
        assert.equal(hidden_size / ranks, ways > 1 ? config.hiddenSize : config.hiddenSize / ranks);
        assert.ok(head_size >= config.headDim && head_size % 8 === 0);
        // Its kernels scale by 1 / (q_scaling · √head_size).
        const scale = 1 / (theirs.kraken.q_scaling * Math.sqrt(head_size));
        assert.ok(Math.abs(scale - 1 / Math.sqrt(config.headDim)) < 1e-12);
      }
    }
  });
}

test("the rules that the test applies find what is missing", () => {
  const whole = made(preset("gpt-125m").config, 2) as unknown as Json;
  for (const [path, keys] of Object.entries(required)) {
    for (const key of Object.keys(keys)) {
      const copy = structuredClone(whole);
      const parent =
        path === "" ? copy : path.split(".").reduce<Json>((json, part) => json[part] as Json, copy);
      delete parent[key];
      assert.ok(objections(copy).length > 0, `${path}.${key}`);
    }
  }
});

test("heads are padded to what the attention kernels take", () => {
  const sizes = [113, 168, 209, 111, 161, 240, 64, 128].map(paddedHeadDim);
  assert.deepEqual(sizes, [128, 192, 256, 128, 192, 256, 64, 128]);
  assert.throws(() => paddedHeadDim(257), { code: "ERR_OPTION" });
});

test("limits fit each other, and what cannot be is refused", () => {
  const steps = stepLimits({ maxBatchSize: 32, maxStepTokens: 8192 }, 1024);
  assert.deepEqual(trtllmLimits({ maxInputLength: 512 }, steps, "bfloat16"), {
    maxBatchSize: 32,
    maxStepTokens: 8192,
    maxSequenceLength: 1024,
    maxInputLength: 512,
    gatherContextLogits: false,
    gpusPerNode: 8,
  });
  assert.equal(trtllmLimits({}, steps, "bfloat16").maxInputLength, 1023);
  assert.throws(
    () => trtllmLimits({ maxInputLength: 1024 }, steps, "bfloat16"),
    /must be less than the longest sequence/,
  );
  assert.throws(() => trtllmLimits({ maxInputLength: 0 }, steps, "bfloat16"), { code: "ERR_OPTION" });
  assert.throws(() => trtllmLimits({ gpusPerNode: 0 }, steps, "bfloat16"), { code: "ERR_OPTION" });
  // Without its kernels for whole prompts it cannot compute one in chunks.
  const few = stepLimits({ maxStepTokens: 256 }, 1024);
  assert.equal(trtllmLimits({}, few, "bfloat16").maxInputLength, 1023);
  assert.equal(trtllmLimits({ maxInputLength: 256 }, few, "float32").maxInputLength, 256);
  assert.throws(() => trtllmLimits({}, few, "float32"), {
    code: "ERR_OPTION",
    message: /`maxStepTokens` \(256\) must be at least `maxInputLength` \(1023\)/,
  });
  assert.throws(() => checkTrtLlmBuild({ dtype: "int8", communication: undefined }), { code: "ERR_OPTION" });
  assert.throws(() => checkTrtLlmBuild({ dtype: "bfloat16", communication: "none" }), { code: "ERR_OPTION" });
  assert.throws(() => checkNotTrtLlm({ gatherContextLogits: true }), { code: "ERR_OPTION" });
  assert.throws(() => checkNotTrtLlm({ gpusPerNode: 4 }), { code: "ERR_OPTION" });
});
