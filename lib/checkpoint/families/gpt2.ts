/** GPT-2 of transformers: nanoGPT's names, but Conv1D weights ([in, out]) and biases everywhere. */
import { hfActivations } from "../config-json.js";
import { type Family, headDim } from "./family.js";
import { maskBuffers, transformerRules } from "./kraken.js";

export const gpt2: Family = (json, stored) => {
  json.refuse("scale_attn_weights", true);
  json.refuse("scale_attn_by_inverse_layer_idx", false);
  json.refuse("add_cross_attention", false);
  const hiddenSize = json.integer("n_embd");
  const heads = json.integer("n_head");
  const tiedHead = json.boolean("tie_word_embeddings", true);
  return {
    config: {
      architecture: "gpt",
      layers: json.integer("n_layer"),
      hiddenSize,
      heads,
      kvHeads: heads,
      headDim: headDim(json, hiddenSize, heads),
      ffnSize: json.integer("n_inner", 4 * hiddenSize),
      vocabSize: json.integer("vocab_size"),
      maxPositions: json.integer(json.has("n_positions") ? "n_positions" : "n_ctx"),
      norm: { kind: "layer", eps: json.number("layer_norm_epsilon", 1e-5), bias: true },
      activation: json.oneOf("activation_function", hfActivations, "gelu_new"),
      positions: { kind: "learned" },
      bias: { qkv: true, attnProj: true, mlp: true, head: false },
      tiedHead,
    },
    rules: (config) =>
      transformerRules(config, { prefix: stored.has("wte.weight") ? "" : "transformer.", inputFirst: true }),
    ignored: tiedHead ? [...maskBuffers, /^lm_head\.weight$/] : maskBuffers,
  };
};
