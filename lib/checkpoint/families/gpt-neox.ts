/**
 * GPT-NeoX of transformers (Pythia): parallel block with two norms, or sequential; half-split rotary positions on a part
 * of each head. query_key_value packs q, k and v head by head: [h, 3, hd] along its output.
 */

import type { TensorRule } from "../assemble.js";
import { hfActivations } from "../config-json.js";
import { rotaryPositions } from "../rotary.js";
import { select, unflatten } from "../stored-tensor.js";
import { block, type Family, headDim, normRules } from "./family.js";

export const gptNeox: Family = (json, _stored) => {
  const hiddenSize = json.integer("hidden_size");
  const heads = json.integer("num_attention_heads");
  const hd = headDim(json, hiddenSize, heads);
  const attentionBias = json.boolean("attention_bias", true);
  const tiedHead = json.boolean("tie_word_embeddings", false);
  const buffers = [
    /(^|\.)attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
    /(^|\.)rotary_emb\.inv_freq$/,
  ];
  const common = {
    layers: json.integer("num_hidden_layers"),
    hiddenSize,
    heads,
    kvHeads: heads,
    headDim: hd,
    ffnSize: json.integer("intermediate_size"),
    vocabSize: json.integer("vocab_size"),
    maxPositions: json.integer("max_position_embeddings"),
    norm: { kind: "layer" as const, eps: json.number("layer_norm_eps", 1e-5), bias: true },
    activation: json.oneOf("hidden_act", hfActivations, "gelu"),
    positions: rotaryPositions(json, hd, { base: 10000, fraction: 0.25 }),
    bias: { qkv: attentionBias, attnProj: attentionBias, mlp: true, head: false },
    tiedHead,
  };
  return {
    config: json.boolean("use_parallel_residual", true)
      ? { architecture: "parallel", separateNorms: true, ...common }
      : { architecture: "gpt", ...common },
    rules(config) {
      const { hiddenSize: d, ffnSize: f, vocabSize } = config;
      const rules: TensorRule[] = [
        { to: "embed.tokens", from: "gpt_neox.embed_in.weight", shape: [vocabSize, d] },
      ];
      for (let layer = 0; layer < config.layers; layer++) {
        const to = block(layer);
        const from = `gpt_neox.layers.${layer}`;
        const packed = `${from}.attention.query_key_value`;
        rules.push(...normRules(config, `${to}.norm1`, `${from}.input_layernorm`));
        for (const [index, part] of ["q", "k", "v"].entries()) {
          const view: TensorRule["view"] = (t) => select(unflatten(t, 0, [heads, 3, hd]), 1, index);
          rules.push({ to: `${to}.attn.${part}.weight`, from: `${packed}.weight`, shape: [3 * d, d], view });
          if (attentionBias) {
            rules.push({ to: `${to}.attn.${part}.bias`, from: `${packed}.bias`, shape: [3 * d], view });
          }
        }
        rules.push({
          to: `${to}.attn.proj.weight`,
          from: `${from}.attention.dense.weight`,
          shape: [d, d],
          view: (t) => unflatten(t, 1, [heads, hd]),
        });
        if (attentionBias) {
          rules.push({ to: `${to}.attn.proj.bias`, from: `${from}.attention.dense.bias`, shape: [d] });
        }
        rules.push(
          ...normRules(config, `${to}.norm2`, `${from}.post_attention_layernorm`),
          { to: `${to}.mlp.up.weight`, from: `${from}.mlp.dense_h_to_4h.weight`, shape: [f, d] },
          { to: `${to}.mlp.up.bias`, from: `${from}.mlp.dense_h_to_4h.bias`, shape: [f] },
          { to: `${to}.mlp.down.weight`, from: `${from}.mlp.dense_4h_to_h.weight`, shape: [d, f] },
          { to: `${to}.mlp.down.bias`, from: `${from}.mlp.dense_4h_to_h.bias`, shape: [d] },
        );
      }
      rules.push(...normRules(config, "final_norm", "gpt_neox.final_layer_norm"));
      const head = tiedHead ? "gpt_neox.embed_in.weight" : "embed_out.weight";
      rules.push({ to: "head.weight", from: head, shape: [vocabSize, d] });
      return rules;
    },
    ignored: tiedHead ? [...buffers, /^embed_out\.weight$/] : buffers,
  };
};
