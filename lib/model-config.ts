/**
 * The architectures' configurations as a discriminated union, in the engine's own words.
 * Checkpoint readers produce it, the native side parses the very same JSON (native/model/config.cpp).
 * Sizes are those of ONE way: a 4-way Kraken with 3 heads per way has `heads: 3`.
 */
import { CheckpointError } from "./errors.js";

/** How a layer's attention and MLP are joined, and what is exchanged between ranks. */
export type Architecture = "kraken" | "gpt" | "parallel" | "ladder";
/**
 * An engine's dtype. float16: on CPUs, which have no arithmetic for it here, it is how weights are stored, and float32 what
 * they are multiplied in. int8: matrices are int8 with a scale for each output channel, and so are, token by token, the
 * activations they multiply; everything else is as in bfloat16.
 */
export const dtypes = ["float32", "bfloat16", "float16", "int8"] as const;
/** In what an engine computes and keeps its weights. */
export type DType = (typeof dtypes)[number];
/**
 * The dtype of an engine that says none. GPUs multiply both 16-bit types alike, so there a checkpoint in float16 keeps
 * every bit of its weights; elsewhere, and where weights are to be rounded, it is the one that nothing overflows.
 */
export const defaultDType = (backend: string, stored: string): DType =>
  backend !== "cpu" && stored === "float16" ? "float16" : "bfloat16";
/** The MLP's; `swiglu` has a gate, hence a third matrix. */
export type Activation = "gelu_tanh" | "gelu_erf" | "swiglu";

/** Every norm of a model. */
export interface NormConfig {
  kind: "layer" | "rms";
  /** Added to the variance before the square root. */
  eps: number;
  bias: boolean;
}

/** How a model knows where a token stands. */
export type PositionConfig =
  | { kind: "learned" }
  | {
      kind: "rotary";
      /** How many of a head's dimensions are rotated (even, at most headDim). */
      dims: number;
      base: number;
      /** true: pairs (0,1),(2,3)… (GPT-J); false: pairs (i, i + dims/2) (GPT-NeoX, Llama). */
      interleaved: boolean;
      /** One multiplier per pair of dimensions on its rotation frequency (linear or llama3 scaling); absent: none. */
      frequencyScale?: number[];
    };

/** What all architectures have. */
export interface CommonConfig {
  layers: number;
  /** d: width of a residual stream. */
  hiddenSize: number;
  /** Attention heads of one way. */
  heads: number;
  /** Key/value heads of one way (heads for plain multi-head attention). */
  kvHeads: number;
  headDim: number;
  /** Hidden columns of one way's MLP. */
  ffnSize: number;
  vocabSize: number;
  /** Longest context the model knows positions for. */
  maxPositions: number;
  norm: NormConfig;
  activation: Activation;
  positions: PositionConfig;
  bias: { qkv: boolean; attnProj: boolean; mlp: boolean; head: boolean };
  tiedHead: boolean;
}

/** N parallel residual streams: one overlapped all-reduce a layer. */
export interface KrakenConfig extends CommonConfig {
  architecture: "kraken";
  /** N: parallel residual streams. */
  ways: number;
  /** Whether the final conjunction Linear (N·d → d) has a bias. */
  conjunctionBias: boolean;
}
/** The standard transformer: two blocking all-reduces a layer. */
export interface GptConfig extends CommonConfig {
  architecture: "gpt";
}
/** Attention and MLP side by side, as in GPT-J: one blocking all-reduce a layer. */
export interface ParallelConfig extends CommonConfig {
  architecture: "parallel";
  /** true (GPT-NeoX): attention and MLP each have their own norm of the block's input; false (GPT-J): one for both. */
  separateNorms: boolean;
}
/** Ladder-Residual: every module reads the stream without the one right before it; two overlapped all-reduces a layer. */
export interface LadderConfig extends CommonConfig {
  architecture: "ladder";
}

/** Everything that decides a model's shape, by architecture. */
export type ModelConfig = KrakenConfig | GptConfig | ParallelConfig | LadderConfig;

/** N of a Kraken, 1 for every other architecture. */
export function waysOf(config: ModelConfig): number {
  return config.architecture === "kraken" ? config.ways : 1;
}

const ceiling = 1 << 24;
const words = {
  architecture: ["kraken", "gpt", "parallel", "ladder"],
  activation: ["gelu_tanh", "gelu_erf", "swiglu"],
  "norm.kind": ["layer", "rms"],
  "positions.kind": ["learned", "rotary"],
} as const;

function positiveInteger(config: object, key: string): number {
  const value = (config as Record<string, unknown>)[key];
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > ceiling) {
    throw new CheckpointError(
      "ERR_CONFIG",
      `model config: \`${key}\` must be a positive integer, got ${value}`,
    );
  }
  return value;
}

/**
 * Checks that the sizes of a configuration fit each other.
 * @throws CheckpointError ERR_CONFIG naming the field, what was expected and what it is
 */
export function validateModelConfig(config: ModelConfig): ModelConfig {
  for (const key of [
    "layers",
    "hiddenSize",
    "heads",
    "kvHeads",
    "headDim",
    "ffnSize",
    "vocabSize",
    "maxPositions",
  ]) {
    positiveInteger(config, key);
  }
  if (config.architecture === "kraken") positiveInteger(config, "ways");
  const fail = (message: string): never => {
    throw new CheckpointError("ERR_CONFIG", `model config: ${message}`);
  };
  const { architecture, activation, norm, positions } = config;
  const said = { architecture, activation, "norm.kind": norm?.kind, "positions.kind": positions?.kind };
  for (const [key, known] of Object.entries(words)) {
    const word: string | undefined = said[key as keyof typeof words];
    if (!(known as readonly (string | undefined)[]).includes(word)) {
      fail(`\`${key}\` must be one of ${known.join(", ")}, got ${word}`);
    }
  }
  if (config.heads % config.kvHeads !== 0) {
    fail(`\`kvHeads\` (${config.kvHeads}) must divide \`heads\` (${config.heads})`);
  }
  if (!(config.norm.eps >= 0 && config.norm.eps < 1))
    fail(`\`norm.eps\` must lie in [0, 1), got ${config.norm.eps}`);
  if (config.positions.kind === "rotary") {
    const { dims, base, frequencyScale } = config.positions;
    if (!Number.isInteger(dims) || dims < 2 || dims % 2 !== 0 || dims > config.headDim) {
      fail(`\`positions.dims\` must be even and at most headDim (${config.headDim}), got ${dims}`);
    }
    if (!(base > 0)) fail(`\`positions.base\` must be positive, got ${base}`);
    if (frequencyScale && frequencyScale.length !== dims / 2) {
      fail(`\`positions.frequencyScale\` must have ${dims / 2} entries, got ${frequencyScale.length}`);
    }
    if (frequencyScale?.some((factor) => !(factor >= 0 && factor < Number.POSITIVE_INFINITY))) {
      fail("`positions.frequencyScale` must have finite entries that are not negative");
    }
  }
  if (config.tiedHead && config.bias.head && config.architecture === "kraken") {
    fail("a Kraken's tied head has no bias");
  }
  return config;
}

/** Parameters of the model, embeddings counted once when tied. */
export function parameterCount(c: ModelConfig): number {
  const n = waysOf(c);
  const [d, f] = [c.hiddenSize, c.ffnSize];
  const q = c.heads * c.headDim;
  const kv = c.kvHeads * c.headDim;
  const norm = d * (c.norm.bias ? 2 : 1);
  const norms = c.architecture === "parallel" && !c.separateNorms ? 1 : 2;
  const attention = d * (q + 2 * kv) + (c.bias.qkv ? q + 2 * kv : 0) + q * d + (c.bias.attnProj ? d : 0);
  const gates = c.activation === "swiglu" ? 2 : 1;
  const mlp = (gates + 1) * d * f + (c.bias.mlp ? gates * f + d : 0);
  const block = norms * norm + attention + mlp;
  const embeddings =
    c.vocabSize * d +
    (c.positions.kind === "learned" ? c.maxPositions * d : 0) +
    (c.tiedHead ? 0 : c.vocabSize * d) +
    (c.bias.head ? c.vocabSize : 0);
  const conjunction = c.architecture === "kraken" ? n * d * d + (c.conjunctionBias ? d : 0) : 0;
  return embeddings + c.layers * n * block + conjunction + norm;
}
