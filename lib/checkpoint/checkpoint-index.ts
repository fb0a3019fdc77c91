/**
 * What a checkpoint reader yields: the configuration and where each tensor's elements lie. Nothing is loaded.
 *
 * Readers speak one canonical vocabulary of names, and express every reordering a format needs (Conv1D's
 * transposition, GPT-NeoX's interleaved q,k,v, torch's non-contiguous views) as strides over the file's bytes,
 * so that native code slices shards for a rank without knowing where a tensor came from.
 *
 * Canonical names and shapes (h = heads, kv = kvHeads, hd = headDim, f = ffnSize, N = ways; all of one way):
 *
 *     embed.tokens            [V, d]
 *     embed.positions         [maxPositions, d]        learned positions only
 *     layers.{l}.ways.{w}.    w is 0 for everything but Kraken
 *       norm1.weight          [d]      norm1.bias      [d]
 *       attn.q.weight         [h, hd, d]               attn.q.bias [h, hd]
 *       attn.k.weight         [kv, hd, d]              attn.k.bias [kv, hd]
 *       attn.v.weight         [kv, hd, d]              attn.v.bias [kv, hd]
 *       attn.proj.weight      [d, h, hd]               attn.proj.bias [d]
 *       norm2.weight          [d]      norm2.bias      [d]      absent for parallel without separateNorms
 *       mlp.up.weight         [f, d]                   mlp.up.bias [f]
 *       mlp.gate.weight       [f, d]                   mlp.gate.bias [f]   SwiGLU only: silu(gate) * up
 *       mlp.down.weight       [d, f]                   mlp.down.bias [d]
 *     conjunction.weight      [d, N, d] (out, way, in) conjunction.bias [d]     Kraken only
 *     final_norm.weight       [d]      final_norm.bias [d]
 *     head.weight             [V, d]   (tied: the same bytes as embed.tokens)   head.bias [V]
 */
import type { ModelConfig } from "../model-config.js";

/** In what a checkpoint may keep its tensors. */
export type StoredDType = "float32" | "float16" | "bfloat16";

/** Elements of a tensor in a file: element (i, j, …) lies at byte `offset + size * (i·strides[0] + j·strides[1] + …)`. */
export interface FileTensor {
  source: "file";
  /** Absolute path. */
  file: string;
  /** Byte offset of the first element. */
  offset: number;
  dtype: StoredDType;
  shape: number[];
  /** In elements, one per dimension, non-negative. */
  strides: number[];
}

/** Seeded pseudo-random elements, a pure function of (seed, name, index): identical for every rank count and backend. */
export interface RandomTensor {
  source: "random";
  seed: number;
  /** Whose elements these are, when not its own: a tied head has those of embed.tokens. */
  name?: string;
  /** Standard deviation; mean 0. */
  std: number;
  shape: number[];
}

/** Every element is `value`. */
export interface ConstantTensor {
  source: "constant";
  value: number;
  shape: number[];
}

/** Where a tensor's elements come from. */
export type TensorView = FileTensor | RandomTensor | ConstantTensor;

/** How text becomes token ids for this model. */
export type TokenizerSource =
  /** A Hugging Face tokenizer.json to copy beside the engine (with its tokenizer_config.json where there is one). */
  | { kind: "file"; file: string; configFile?: string }
  /** GPT-2's byte-pair encoding, built in. */
  | { kind: "gpt2" }
  /** One token per byte. */
  | { kind: "bytes" };

/** A checkpoint that was opened, not loaded: its model, and where each tensor lies. */
export interface CheckpointIndex {
  /** Short description of where it came from, e.g. "PyTorch checkpoint of the Kraken trainer". */
  description: string;
  /** dtype most of its tensors are stored in. */
  dtype: StoredDType;
  config: ModelConfig;
  /** By canonical name. */
  tensors: Record<string, TensorView>;
  tokenizer?: TokenizerSource;
  /** Token that ends a text, where the checkpoint says so. */
  eosTokenIds: number[];
  bosTokenId?: number;
}
