/**
 * The forward passes in float64, written to be read: what every backend is tested against. The architectures are
 * those of docs/architecture.md, with every attribute a ModelConfig can have.
 * A matrix is a Float64Array in row-major order; its shape stands beside it. T tokens, d hiddenSize, V vocabulary.
 */
import type { KrakenConfig, ModelConfig, ParallelConfig } from "./model-config.js";

/** The elements of a canonical tensor (checkpoint-index.ts), row-major. */
export type ReadTensor = (name: string) => Float64Array;

/** Logits [T,V] of a sequence that starts at position 0, for all its positions. */
export function referenceLogits(
  config: ModelConfig,
  read: ReadTensor,
  tokens: readonly number[],
): Float64Array {
  const model = new Model(config, read);
  const x = model.embed(tokens);
  switch (config.architecture) {
    case "kraken":
      return model.head(kraken(model, config, x));
    case "gpt":
      return model.head(gpt(model, x));
    case "parallel":
      return model.head(parallel(model, config, x));
    case "ladder":
      return model.head(ladder(model, x));
  }
}

/** [T,d] → [T,d]: the conjunction of all ways. In layers after the first a way's MLP sees the others' inputs, too. */
function kraken(
  model: Model,
  { layers, ways, conjunctionBias }: KrakenConfig,
  x: Float64Array,
): Float64Array {
  let streams = Array.from({ length: ways }, () => x);
  for (let layer = 0; layer < layers; layer++) {
    const total = streams.reduce(add);
    streams = streams.map((stream, way) => {
      const at = `layers.${layer}.ways.${way}`;
      const a = add(stream, model.attention(`${at}.attn`, model.norm(`${at}.norm1`, stream)));
      const joined = layer === 0 ? a : a.map((value, i) => value + (total[i]! - stream[i]!));
      return add(a, model.mlp(`${at}.mlp`, model.norm(`${at}.norm2`, joined)));
    });
  }
  const d = model.config.hiddenSize;
  const rows = x.length / d;
  const all = new Float64Array(rows * ways * d); // [T,N,d]
  for (const [way, stream] of streams.entries()) {
    for (let t = 0; t < rows; t++) all.set(stream.subarray(t * d, (t + 1) * d), (t * ways + way) * d);
  }
  return model.linear("conjunction", all, ways * d, d, conjunctionBias);
}

function gpt(model: Model, x: Float64Array): Float64Array {
  for (let layer = 0; layer < model.config.layers; layer++) {
    const at = `layers.${layer}.ways.0`;
    x = add(x, model.attention(`${at}.attn`, model.norm(`${at}.norm1`, x)));
    x = add(x, model.mlp(`${at}.mlp`, model.norm(`${at}.norm2`, x)));
  }
  return x;
}

function parallel(model: Model, { layers, separateNorms }: ParallelConfig, x: Float64Array): Float64Array {
  for (let layer = 0; layer < layers; layer++) {
    const at = `layers.${layer}.ways.0`;
    const n = model.norm(`${at}.norm1`, x);
    const m = separateNorms ? model.norm(`${at}.norm2`, x) : n;
    x = add(x, add(model.attention(`${at}.attn`, n), model.mlp(`${at}.mlp`, m)));
  }
  return x;
}

/** Every module reads the stream without the output of the module right before it, which is still being reduced. */
function ladder(model: Model, x: Float64Array): Float64Array {
  let late: Float64Array = new Float64Array(x.length);
  for (let layer = 0; layer < model.config.layers; layer++) {
    const at = `layers.${layer}.ways.0`;
    const attention = model.attention(`${at}.attn`, model.norm(`${at}.norm1`, x));
    x = add(x, late);
    const mlp = model.mlp(`${at}.mlp`, model.norm(`${at}.norm2`, x));
    x = add(x, attention);
    late = mlp;
  }
  return add(x, late);
}

function add(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value + b[i]!);
}

class Model {
  constructor(
    readonly config: ModelConfig,
    private readonly read: ReadTensor,
  ) {}

  /** ids[T] → [T,d] */
  embed(tokens: readonly number[]): Float64Array {
    const { hiddenSize: d, positions } = this.config;
    const x = new Float64Array(tokens.length * d);
    const table = this.read("embed.tokens");
    for (const [t, id] of tokens.entries()) x.set(table.subarray(id * d, (id + 1) * d), t * d);
    return positions.kind === "learned" ? add(x, this.read("embed.positions").subarray(0, x.length)) : x;
  }

  /** [T,d] → [T,V] */
  head(x: Float64Array): Float64Array {
    const { hiddenSize, vocabSize, bias } = this.config;
    return this.linear("head", this.norm("final_norm", x), hiddenSize, vocabSize, bias.head);
  }

  /** [T,k] → [T,n] by a weight [n,k] */
  linear(name: string, x: Float64Array, k: number, n: number, hasBias: boolean): Float64Array {
    const w = this.read(`${name}.weight`);
    const bias = hasBias ? this.read(`${name}.bias`) : undefined;
    const rows = x.length / k;
    const y = new Float64Array(rows * n);
    for (let t = 0; t < rows; t++) {
      for (let j = 0; j < n; j++) {
        let sum = bias ? bias[j]! : 0;
        for (let i = 0; i < k; i++) sum += x[t * k + i]! * w[j * k + i]!;
        y[t * n + j] = sum;
      }
    }
    return y;
  }

  /** [T,d] → [T,d] */
  norm(name: string, x: Float64Array): Float64Array {
    const { hiddenSize: d, norm } = this.config;
    const w = this.read(`${name}.weight`);
    const bias = norm.bias ? this.read(`${name}.bias`) : undefined;
    const y = new Float64Array(x.length);
    for (let row = 0; row < x.length; row += d) {
      let mean = 0;
      if (norm.kind === "layer") for (let i = 0; i < d; i++) mean += x[row + i]! / d;
      let variance = 0;
      for (let i = 0; i < d; i++) variance += (x[row + i]! - mean) ** 2 / d;
      const scale = 1 / Math.sqrt(variance + norm.eps);
      for (let i = 0; i < d; i++) y[row + i] = (x[row + i]! - mean) * scale * w[i]! + (bias ? bias[i]! : 0);
    }
    return y;
  }

  /** [T,d] → [T,d], causal; key/value head g serves h/kv query heads. */
  attention(name: string, x: Float64Array): Float64Array {
    const { hiddenSize: d, heads, kvHeads, headDim, bias } = this.config;
    const q = this.rotate(this.linear(`${name}.q`, x, d, heads * headDim, bias.qkv), heads);
    const k = this.rotate(this.linear(`${name}.k`, x, d, kvHeads * headDim, bias.qkv), kvHeads);
    const v = this.linear(`${name}.v`, x, d, kvHeads * headDim, bias.qkv);
    const rows = x.length / d;
    const y = new Float64Array(rows * heads * headDim); // [T,h,hd]
    for (let t = 0; t < rows; t++) {
      for (let head = 0; head < heads; head++) {
        const from = (t * heads + head) * headDim;
        const kvHead = Math.floor((head * kvHeads) / heads);
        const at = (s: number) => (s * kvHeads + kvHead) * headDim;
        const scores = Array.from({ length: t + 1 }, (_, s) => {
          let score = 0;
          for (let i = 0; i < headDim; i++) score += q[from + i]! * k[at(s) + i]!;
          return score / Math.sqrt(headDim);
        });
        const highest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - highest));
        const total = weights.reduce((a, b) => a + b);
        for (const [s, weight] of weights.entries()) {
          for (let i = 0; i < headDim; i++) y[from + i]! += (weight / total) * v[at(s) + i]!;
        }
      }
    }
    return this.linear(`${name}.proj`, y, heads * headDim, d, bias.attnProj);
  }

  /** [T,heads,hd] with its positions rotated in (RoFormer, arXiv 2104.09864); as it is for learned positions. */
  private rotate(x: Float64Array, heads: number): Float64Array {
    const { positions, headDim } = this.config;
    if (positions.kind === "learned") return x;
    const { dims, base, interleaved, frequencyScale } = positions;
    const y = Float64Array.from(x);
    for (let row = 0; row < x.length / headDim; row++) {
      const position = Math.floor(row / heads);
      for (let pair = 0; pair < dims / 2; pair++) {
        const angle = position * base ** ((-2 * pair) / dims) * (frequencyScale?.[pair] ?? 1);
        const a = row * headDim + (interleaved ? 2 * pair : pair);
        const b = interleaved ? a + 1 : a + dims / 2;
        y[a] = x[a]! * Math.cos(angle) - x[b]! * Math.sin(angle);
        y[b] = x[b]! * Math.cos(angle) + x[a]! * Math.sin(angle);
      }
    }
    return y;
  }

  /** [T,d] → [T,d] */
  mlp(name: string, x: Float64Array): Float64Array {
    const { hiddenSize: d, ffnSize: f, activation, bias } = this.config;
    const up = this.linear(`${name}.up`, x, d, f, bias.mlp);
    let hidden: Float64Array;
    if (activation === "swiglu") {
      const gate = this.linear(`${name}.gate`, x, d, f, bias.mlp);
      hidden = up.map((value, i) => (value * gate[i]!) / (1 + Math.exp(-gate[i]!)));
    } else {
      hidden = up.map(activation === "gelu_erf" ? geluErf : geluTanh);
    }
    return this.linear(`${name}.down`, hidden, f, d, bias.mlp);
  }
}

function geluTanh(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

function geluErf(x: number): number {
  return 0.5 * x * (1 + erf(x / Math.SQRT2));
}

/** 2/√π · e^(−x²) · Σ 2^n x^(2n+1) / (2n+1)!!: no term cancels another (DLMF 7.6.2). */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
