/**
 * Models by name, with random weights: the six Kraken configurations that the paper's authors trained (configs of
 * rohan-bp/kraken; vocabulary 50304, block 1024, no biases, MLP of 2·d), the other architectures at the same parameter
 * budgets, and tiny ones for tests, whose norms, biases and scores are far from trivial.
 */
import { canonicalShapes } from "./checkpoint/canonical.js";
import type { CheckpointIndex, TensorView } from "./checkpoint/checkpoint-index.js";
import { ArgumentError } from "./errors.js";
import type { ModelConfig } from "./model-config.js";
import { closest, integerOption } from "./options.js";
import { gpt2EndOfText } from "./tokenizer/gpt2.js";

export interface PresetOptions {
  /** Which random weights, 0 … 2^32 − 1. Default 0. */
  seed?: number;
}

interface Preset {
  config: ModelConfig;
  /** Weights that exercise everything, instead of those a training run starts from. */
  tiny: boolean;
}

interface Sizes {
  layers: number;
  hiddenSize: number;
  /** Heads of one way. */
  heads: number;
  ffnSize: number;
  vocabSize: number;
  maxPositions: number;
  bias: boolean;
}

function common({ bias, heads, hiddenSize, ...sizes }: Sizes) {
  return {
    ...sizes,
    hiddenSize,
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    norm: { kind: "layer" as const, eps: 1e-5, bias },
    activation: "gelu_tanh" as const,
    positions: { kind: "learned" as const },
    bias: { qkv: bias, attnProj: bias, mlp: bias, head: false },
    tiedHead: true,
  };
}

const trained = { vocabSize: 50304, maxPositions: 1024, bias: false };

/** A Kraken of the paper: MLP of 2·d. */
function kraken(ways: number, layers: number, hiddenSize: number, heads: number): Preset {
  const sizes = { layers, hiddenSize, heads, ffnSize: 2 * hiddenSize, ...trained };
  return { config: { architecture: "kraken", ways, conjunctionBias: false, ...common(sizes) }, tiny: false };
}

/** gpt, parallel and ladder of one size: MLP of 4·d. */
function budget(name: string, layers: number, hiddenSize: number, heads: number): Record<string, Preset> {
  const sizes = common({ layers, hiddenSize, heads, ffnSize: 4 * hiddenSize, ...trained });
  return {
    [`gpt-${name}`]: { config: { architecture: "gpt", ...sizes }, tiny: false },
    [`parallel-${name}`]: {
      config: { architecture: "parallel", separateNorms: false, ...sizes },
      tiny: false,
    },
    [`ladder-${name}`]: { config: { architecture: "ladder", ...sizes }, tiny: false },
  };
}

const gpt2Sizes = {
  layers: 12,
  hiddenSize: 768,
  heads: 12,
  ffnSize: 3072,
  vocabSize: 50257,
  maxPositions: 1024,
};
const tinySizes = { layers: 3, vocabSize: 256, maxPositions: 128, bias: true };
const tinyKraken = common({ ...tinySizes, hiddenSize: 38, heads: 2, ffnSize: 76 });
const tinyOther = common({ ...tinySizes, hiddenSize: 60, heads: 4, ffnSize: 236 });

const presets: Record<string, Preset> = {
  "kraken-125m-2way": kraken(2, 12, 678, 6),
  "kraken-125m-4way": kraken(4, 12, 504, 3),
  "kraken-125m-6way": kraken(6, 12, 418, 2),
  "kraken-350m-2way": kraken(2, 24, 888, 8),
  "kraken-350m-4way": kraken(4, 24, 644, 4),
  "kraken-760m-4way": kraken(4, 24, 960, 4),
  ...budget("125m", 12, 768, 12),
  ...budget("350m", 24, 1024, 16),
  ...budget("760m", 24, 1536, 16),
  "gpt2-124m": { config: { architecture: "gpt", ...common({ ...gpt2Sizes, bias: true }) }, tiny: false },
  "kraken-tiny-2way": {
    config: { architecture: "kraken", ways: 2, conjunctionBias: true, ...tinyKraken },
    tiny: true,
  },
  "kraken-tiny-4way": {
    config: { architecture: "kraken", ways: 4, conjunctionBias: true, ...tinyKraken },
    tiny: true,
  },
  "gpt-tiny": { config: { architecture: "gpt", ...tinyOther }, tiny: true },
  "parallel-tiny": { config: { architecture: "parallel", separateNorms: true, ...tinyOther }, tiny: true },
  "ladder-tiny": { config: { architecture: "ladder", ...tinyOther }, tiny: true },
};

export const presetNames: readonly string[] = Object.keys(presets);

/**
 * A model with random weights, the same for every rank count, dtype and backend.
 * @throws ArgumentError ERR_OPTION for an unknown name (with the one probably meant) or a seed out of range
 */
export function preset(name: string, options: PresetOptions = {}): CheckpointIndex {
  if (typeof name !== "string" || !Object.hasOwn(presets, name)) {
    const meant = closest(String(name), presetNames);
    const hint = meant ? `did you mean ${meant}?` : `known: ${presetNames.join(", ")}`;
    throw new ArgumentError("ERR_OPTION", `unknown preset ${JSON.stringify(name)}; ${hint}`);
  }
  const seed = integerOption("seed", options.seed, { min: 0, max: 2 ** 32 - 1, fallback: 0 });
  const { config, tiny } = presets[name]!;
  const bytes = config.vocabSize === 256;
  return {
    ...randomModel(config, { seed, weights: tiny ? "varied" : "initial" }),
    description: `preset ${name}, random weights of seed ${seed}`,
    tokenizer: { kind: bytes ? "bytes" : "gpt2" },
    eosTokenIds: bytes ? [] : [gpt2EndOfText],
    ...(!bytes && { bosTokenId: gpt2EndOfText }),
  };
}

export interface RandomModelOptions {
  /** Default 0. */
  seed?: number;
  /** As training starts (default), or such that norms, biases and scores all matter. */
  weights?: "initial" | "varied";
}

/** Any configuration with random weights; token ids only. */
export function randomModel(config: ModelConfig, options: RandomModelOptions = {}): CheckpointIndex {
  const { seed = 0, weights = "initial" } = options;
  return {
    description: `random weights of seed ${seed}`,
    dtype: "float32",
    config: structuredClone(config),
    tensors: randomTensors(config, seed, weights === "varied" ? variedWeights : initialWeights),
    eosTokenIds: [],
  };
}

/** What a tensor's elements are: a constant, or normal with a standard deviation. */
type Weights = (
  name: string,
  shape: readonly number[],
  config: ModelConfig,
) => { value: number } | { std: number };

/** As training starts: N(0, 0.02), residual projections scaled down by depth (GPT-2; Kraken's paper, section 4). */
const initialWeights: Weights = (name, _shape, config) => {
  if (/norm\d?\.weight$/.test(name)) return { value: 1 };
  if (name.endsWith(".bias")) return { value: 0 };
  const residuals = config.architecture === "kraken" ? config.layers * config.ways : 2 * config.layers;
  return { std: /\.(attn\.proj|mlp\.down)\.weight$/.test(name) ? 0.02 / Math.sqrt(residuals) : 0.02 };
};

/** Norm weights of either sign, biases that matter, and projections that keep the scale of what they read. */
const variedWeights: Weights = (name, shape) => {
  if (/norm\d?\.weight$/.test(name)) return { std: 1 };
  if (name.endsWith(".bias")) return { std: 0.2 };
  if (/^(embed|head)\./.test(name)) return { std: 0.5 };
  const inputs = /attn\.proj|conjunction/.test(name) ? shape[1]! * shape[2]! : shape.at(-1)!;
  return { std: 1 / Math.sqrt(inputs) };
};

function randomTensors(config: ModelConfig, seed: number, weights: Weights): Record<string, TensorView> {
  const tensors: Record<string, TensorView> = {};
  const tied = (name: string) => config.tiedHead && name === "head.weight";
  for (const [name, shape] of canonicalShapes(config)) {
    const elements = weights(name, shape, config);
    tensors[name] =
      "value" in elements
        ? { source: "constant", value: elements.value, shape }
        : { source: "random", seed, std: elements.std, shape, ...(tied(name) && { name: "embed.tokens" }) };
  }
  return tensors;
}
