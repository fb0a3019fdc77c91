/**
 * The layout of the Kraken authors' code and of nanoGPT, and our own config.json that describes it (documented in
 * kraken-config.ts). Linear weights are [out, in]; c_attn packs q, k, v along its output, heads inside each.
 *
 *     transformer.wte.weight  transformer.wpe.weight  transformer.ln_f.weight  lm_head.weight
 *     transformer.h.{layer}.ln_1 | attn.c_attn | attn.c_proj | ln_2 | mlp.c_fc | mlp.c_gate | mlp.c_proj
 *     transformer.h.{way}.{layer}.…  transformer.conjunction.weight [d, N·d]            Kraken
 */
import { type ModelConfig, waysOf } from "../../model-config.js";
import type { TensorRule } from "../assemble.js";
import { narrow, type StoredTensor, transpose, unflatten } from "../stored-tensor.js";
import { block, hasSecondNorm, normRules } from "./family.js";

/** Where nanoGPT without flash attention, and GPT-2, keep their causal masks. */
export const maskBuffers = [/(^|\.)attn\.(bias|masked_bias)$/];

/**
 * @param prefix "transformer." where names carry it
 * @param inputFirst GPT-2's Conv1D keeps its weights as [in, out]
 */
export function transformerRules(
  config: ModelConfig,
  { prefix = "transformer.", inputFirst = false } = {},
): TensorRule[] {
  const { hiddenSize: d, heads: h, kvHeads: kv, headDim: hd, ffnSize: f, bias } = config;
  const rules: TensorRule[] = [];
  /** A Linear of [out, in] in this layout; `view` sees it as [out, in]. */
  const linear = (
    to: string,
    from: string,
    [out, input]: [number, number],
    hasBias: boolean,
    view: (t: StoredTensor) => StoredTensor = (t) => t,
    biasView = view,
  ) => {
    const outputFirst = (t: StoredTensor) => (inputFirst ? transpose(t) : t);
    const shape = inputFirst ? [input, out] : [out, input];
    rules.push({ to: `${to}.weight`, from: `${from}.weight`, shape, view: (t) => view(outputFirst(t)) });
    if (hasBias) rules.push({ to: `${to}.bias`, from: `${from}.bias`, shape: [out], view: biasView });
  };

  rules.push({ to: "embed.tokens", from: `${prefix}wte.weight`, shape: [config.vocabSize, d] });
  if (config.positions.kind === "learned") {
    rules.push({ to: "embed.positions", from: `${prefix}wpe.weight`, shape: [config.maxPositions, d] });
  }
  for (let layer = 0; layer < config.layers; layer++) {
    for (let way = 0; way < waysOf(config); way++) {
      const to = block(layer, way);
      const from = `${prefix}h.${config.architecture === "kraken" ? `${way}.` : ""}${layer}`;
      rules.push(...normRules(config, `${to}.norm1`, `${from}.ln_1`));
      const packed = (h + 2 * kv) * hd;
      for (const [part, begin, heads] of [
        ["q", 0, h],
        ["k", h, kv],
        ["v", h + kv, kv],
      ] as const) {
        const view = (t: StoredTensor) => unflatten(narrow(t, 0, begin * hd, heads * hd), 0, [heads, hd]);
        linear(`${to}.attn.${part}`, `${from}.attn.c_attn`, [packed, d], bias.qkv, view);
      }
      const perHead = (t: StoredTensor) => unflatten(t, 1, [h, hd]);
      linear(`${to}.attn.proj`, `${from}.attn.c_proj`, [d, h * hd], bias.attnProj, perHead, (t) => t);
      if (hasSecondNorm(config)) rules.push(...normRules(config, `${to}.norm2`, `${from}.ln_2`));
      linear(`${to}.mlp.up`, `${from}.mlp.c_fc`, [f, d], bias.mlp);
      if (config.activation === "swiglu") linear(`${to}.mlp.gate`, `${from}.mlp.c_gate`, [f, d], bias.mlp);
      linear(`${to}.mlp.down`, `${from}.mlp.c_proj`, [d, f], bias.mlp);
    }
  }
  if (config.architecture === "kraken") {
    const { ways } = config;
    const perWay = (t: StoredTensor) => unflatten(t, 1, [ways, d]);
    linear("conjunction", `${prefix}conjunction`, [d, ways * d], config.conjunctionBias, perWay, (t) => t);
  }
  rules.push(...normRules(config, "final_norm", `${prefix}ln_f`));
  const head = config.tiedHead ? `${prefix}wte.weight` : "lm_head.weight";
  rules.push({ to: "head.weight", from: head, shape: [config.vocabSize, d] });
  if (config.bias.head) rules.push({ to: "head.bias", from: "lm_head.bias", shape: [config.vocabSize] });
  return rules;
}
