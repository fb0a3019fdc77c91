/**
 * Our config.json, for models that no other library describes; it lies beside model.safetensors, whose names are those
 * of the authors' checkpoints (families/kraken.ts). Sizes are those of one way.
 *
 *     {
 *       "model_type": "kraken",            or "gpt", "parallel", "ladder"
 *       "n_layer": 12,
 *       "n_way": 2,                        Kraken only
 *       "n_head": 6,                       attention heads of one way
 *       "n_kv_head": 6,                    default: n_head
 *       "n_embd": 678,                     d
 *       "head_dim": 113,                   default: n_embd / n_head
 *       "n_inner": 1356,                   MLP columns of one way; default: from the shape of mlp.c_fc
 *       "n_positions": 1024,
 *       "vocab_size": 50304,
 *       "layer_norm_epsilon": 1e-5,        the default
 *       "bias": false,                     of all Linears and LayerNorms; default: whether ln_f has one
 *       "norm": "layer",                   the default, or "rms"
 *       "activation": "gelu_tanh",         the default, or "gelu_erf", "swiglu" (silu(c_gate x) · c_fc x)
 *       "position": "learned",             the default, or "rotary"
 *       "rotary_dim": 64,                  default: head_dim
 *       "rotary_base": 10000,              the default
 *       "rotary_interleaved": false,       the default: pairs (i, i + rotary_dim/2); true: (0,1), (2,3), …
 *       "tie_word_embeddings": true,       default: whether lm_head.weight is absent or the same bytes as wte
 *       "eos_token_id": 50256, "bos_token_id": …     optional
 *     }
 *
 * "parallel" has one norm per block, or two where the file has ln_2.
 */
import type { Activation, Architecture, ModelConfig, NormConfig, PositionConfig } from "../model-config.js";
import type { ConfigJson } from "./config-json.js";
import { type FamilyModel, headDim } from "./families/family.js";
import { maskBuffers, transformerRules } from "./families/kraken.js";
import { type StoredTensors, sameBytes } from "./stored-tensor.js";

export const krakenModelTypes: readonly string[] = ["kraken", "gpt", "parallel", "ladder"];

const activations: Record<string, Activation> = {
  gelu_tanh: "gelu_tanh",
  gelu_erf: "gelu_erf",
  swiglu: "swiglu",
};

/** @throws CheckpointError ERR_CONFIG */
export function krakenFamily(json: ConfigJson, stored: StoredTensors): FamilyModel {
  const config = krakenModelConfig(json, stored);
  // A tied head may be stored once more.
  const ignored = config.tiedHead ? [...maskBuffers, /^lm_head\.weight$/] : maskBuffers;
  return { config, rules: (as) => transformerRules(as), ignored };
}

function krakenModelConfig(json: ConfigJson, stored: StoredTensors): ModelConfig {
  const architecture = json.oneOf<Architecture>("model_type", {
    kraken: "kraken",
    gpt: "gpt",
    parallel: "parallel",
    ladder: "ladder",
  });
  const hiddenSize = json.integer("n_embd");
  const heads = json.integer("n_head");
  const size = json.has("head_dim") ? json.integer("head_dim") : headDim(json, hiddenSize, heads);
  const bias = json.boolean("bias", stored.has("transformer.ln_f.bias"));
  const norm = json.oneOf<NormConfig["kind"]>("norm", { layer: "layer", rms: "rms" }, "layer");
  const head = stored.get("lm_head.weight");
  const embedding = stored.get("transformer.wte.weight");
  const tied = !head || (embedding !== undefined && sameBytes(head, embedding));
  const common = {
    layers: json.integer("n_layer"),
    hiddenSize,
    heads,
    kvHeads: json.integer("n_kv_head", heads),
    headDim: size,
    ffnSize: json.integer("n_inner", ffnColumns(stored)),
    vocabSize: json.integer("vocab_size"),
    maxPositions: json.integer("n_positions"),
    norm: { kind: norm, eps: json.number("layer_norm_epsilon", 1e-5), bias: bias && norm === "layer" },
    activation: json.oneOf("activation", activations, "gelu_tanh"),
    positions: positionsOf(json, size),
    bias: { qkv: bias, attnProj: bias, mlp: bias, head: false },
    tiedHead: json.boolean("tie_word_embeddings", tied),
  };
  switch (architecture) {
    case "kraken":
      return { architecture, ...common, ways: json.integer("n_way"), conjunctionBias: bias };
    case "parallel":
      return { architecture, ...common, separateNorms: stored.has("transformer.h.0.ln_2.weight") };
    default:
      return { architecture, ...common };
  }
}

/** MLP columns as stored; undefined (then `n_inner` is required) when there is no c_fc. */
function ffnColumns(stored: StoredTensors): number | undefined {
  for (const at of ["0", "0.0"]) {
    const rows = stored.get(`transformer.h.${at}.mlp.c_fc.weight`)?.shape[0];
    if (rows) return rows;
  }
  return undefined;
}

function positionsOf(json: ConfigJson, headDim: number): PositionConfig {
  const kind = json.oneOf<PositionConfig["kind"]>(
    "position",
    { learned: "learned", rotary: "rotary" },
    "learned",
  );
  if (kind === "learned") return { kind };
  return {
    kind,
    dims: json.integer("rotary_dim", headDim),
    base: json.number("rotary_base", 10000),
    interleaved: json.boolean("rotary_interleaved", false),
  };
}
