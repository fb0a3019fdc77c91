/** Llama of transformers: RMSNorm, SwiGLU, half-split rotary positions, grouped key/value heads. */
import type { TensorRule } from "../assemble.js";
import { rotaryPositions } from "../rotary.js";
import { unflatten } from "../stored-tensor.js";
import { block, type Family, headDim, normRules } from "./family.js";

export const llama: Family = (json, _stored) => {
  if (json.string("hidden_act", "silu") !== "silu") {
    json.fail(`\`hidden_act\` is ${JSON.stringify(json.raw("hidden_act"))}, supported: silu`);
  }
  const hiddenSize = json.integer("hidden_size");
  const heads = json.integer("num_attention_heads");
  const hd = json.has("head_dim") ? json.integer("head_dim") : headDim(json, hiddenSize, heads);
  const attentionBias = json.boolean("attention_bias", false);
  const mlpBias = json.boolean("mlp_bias", false);
  const tiedHead = json.boolean("tie_word_embeddings", false);
  const buffers = [/(^|\.)rotary_emb\.inv_freq$/];
  return {
    config: {
      architecture: "gpt",
      layers: json.integer("num_hidden_layers"),
      hiddenSize,
      heads,
      kvHeads: json.integer("num_key_value_heads", heads),
      headDim: hd,
      ffnSize: json.integer("intermediate_size"),
      vocabSize: json.integer("vocab_size"),
      maxPositions: json.integer("max_position_embeddings"),
      norm: { kind: "rms", eps: json.number("rms_norm_eps", 1e-6), bias: false },
      activation: "swiglu",
      positions: rotaryPositions(json, hd, { base: 10000, fraction: 1 }),
      bias: { qkv: attentionBias, attnProj: attentionBias, mlp: mlpBias, head: false },
      tiedHead,
    },
    rules(config) {
      const { hiddenSize: d, ffnSize: f, kvHeads, vocabSize } = config;
      const rules: TensorRule[] = [
        { to: "embed.tokens", from: "model.embed_tokens.weight", shape: [vocabSize, d] },
      ];
      const linear = (
        to: string,
        from: string,
        shape: [number, number],
        hasBias: boolean,
        view?: TensorRule["view"],
        biasView?: TensorRule["view"],
      ) => {
        rules.push({ to: `${to}.weight`, from: `${from}.weight`, shape, ...(view && { view }) });
        if (hasBias) {
          rules.push({
            to: `${to}.bias`,
            from: `${from}.bias`,
            shape: [shape[0]],
            ...(biasView && { view: biasView }),
          });
        }
      };
      for (let layer = 0; layer < config.layers; layer++) {
        const to = block(layer);
        const from = `model.layers.${layer}`;
        rules.push(...normRules(config, `${to}.norm1`, `${from}.input_layernorm`));
        for (const [part, count] of [
          ["q", heads],
          ["k", kvHeads],
          ["v", kvHeads],
        ] as const) {
          const perHead: TensorRule["view"] = (t) => unflatten(t, 0, [count, hd]);
          const at = `${from}.self_attn.${part}_proj`;
          linear(`${to}.attn.${part}`, at, [count * hd, d], attentionBias, perHead, perHead);
        }
        const perHead: TensorRule["view"] = (t) => unflatten(t, 1, [heads, hd]);
        linear(`${to}.attn.proj`, `${from}.self_attn.o_proj`, [d, heads * hd], attentionBias, perHead);
        rules.push(...normRules(config, `${to}.norm2`, `${from}.post_attention_layernorm`));
        linear(`${to}.mlp.gate`, `${from}.mlp.gate_proj`, [f, d], mlpBias);
        linear(`${to}.mlp.up`, `${from}.mlp.up_proj`, [f, d], mlpBias);
        linear(`${to}.mlp.down`, `${from}.mlp.down_proj`, [d, f], mlpBias);
      }
      rules.push(...normRules(config, "final_norm", "model.norm"));
      const head = tiedHead ? "model.embed_tokens.weight" : "lm_head.weight";
      rules.push({ to: "head.weight", from: head, shape: [vocabSize, d] });
      return rules;
    },
    ignored: tiedHead ? [...buffers, /^lm_head\.weight$/] : buffers,
  };
};
