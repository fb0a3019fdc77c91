/** GPT-J of transformers: parallel block with one norm, interleaved rotary positions, biases in the MLP and the head. */

import type { TensorRule } from "../assemble.js";
import { hfActivations } from "../config-json.js";
import { unflatten } from "../stored-tensor.js";
import { block, type Family, headDim, normRules } from "./family.js";

export const gptj: Family = (json, stored) => {
  const hiddenSize = json.integer("n_embd");
  const heads = json.integer("n_head");
  const hd = headDim(json, hiddenSize, heads);
  const tiedHead = json.boolean("tie_word_embeddings", false);
  const masks = [/(^|\.)attn\.(bias|masked_bias|embed_positions|attention\.bias|attention\.masked_bias)$/];
  return {
    config: {
      architecture: "parallel",
      separateNorms: false,
      layers: json.integer("n_layer"),
      hiddenSize,
      heads,
      kvHeads: heads,
      headDim: hd,
      ffnSize: json.integer("n_inner", 4 * hiddenSize),
      vocabSize: json.integer("vocab_size"),
      maxPositions: json.integer("n_positions"),
      norm: { kind: "layer", eps: json.number("layer_norm_epsilon", 1e-5), bias: true },
      activation: json.oneOf("activation_function", hfActivations, "gelu_new"),
      positions: { kind: "rotary", dims: json.integer("rotary_dim", 64), base: 10000, interleaved: true },
      bias: { qkv: false, attnProj: false, mlp: true, head: stored.has("lm_head.bias") },
      tiedHead,
    },
    rules(config) {
      const { ffnSize: f, vocabSize } = config;
      const rules: TensorRule[] = [
        { to: "embed.tokens", from: "transformer.wte.weight", shape: [vocabSize, hiddenSize] },
      ];
      for (let layer = 0; layer < config.layers; layer++) {
        const to = block(layer);
        const from = `transformer.h.${layer}`;
        rules.push(...normRules(config, `${to}.norm1`, `${from}.ln_1`));
        for (const part of ["q", "k", "v"]) {
          rules.push({
            to: `${to}.attn.${part}.weight`,
            from: `${from}.attn.${part}_proj.weight`,
            shape: [hiddenSize, hiddenSize],
            view: (t) => unflatten(t, 0, [heads, hd]),
          });
        }
        rules.push(
          {
            to: `${to}.attn.proj.weight`,
            from: `${from}.attn.out_proj.weight`,
            shape: [hiddenSize, hiddenSize],
            view: (t) => unflatten(t, 1, [heads, hd]),
          },
          { to: `${to}.mlp.up.weight`, from: `${from}.mlp.fc_in.weight`, shape: [f, hiddenSize] },
          { to: `${to}.mlp.up.bias`, from: `${from}.mlp.fc_in.bias`, shape: [f] },
          { to: `${to}.mlp.down.weight`, from: `${from}.mlp.fc_out.weight`, shape: [hiddenSize, f] },
          { to: `${to}.mlp.down.bias`, from: `${from}.mlp.fc_out.bias`, shape: [hiddenSize] },
        );
      }
      rules.push(...normRules(config, "final_norm", "transformer.ln_f"));
      const head = tiedHead ? "transformer.wte.weight" : "lm_head.weight";
      rules.push({ to: "head.weight", from: head, shape: [vocabSize, hiddenSize] });
      if (config.bias.head) rules.push({ to: "head.bias", from: "lm_head.bias", shape: [vocabSize] });
      return rules;
    },
    ignored: tiedHead ? [...masks, /^lm_head\.weight$/] : masks,
  };
};
