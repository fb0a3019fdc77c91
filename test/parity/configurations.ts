/** The grid of configurations that parity is proven on: every architecture with odd sizes and every attribute. */
import type {
  GptConfig,
  KrakenConfig,
  LadderConfig,
  ModelConfig,
  ParallelConfig,
} from "../../lib/model-config.js";

export interface ParityCase {
  name: string;
  config: ModelConfig;
  ranks: number[];
}

const common = {
  layers: 3,
  vocabSize: 97,
  maxPositions: 96,
  norm: { kind: "layer", eps: 1e-5, bias: false },
  activation: "gelu_tanh",
  positions: { kind: "learned" },
  bias: { qkv: false, attnProj: false, mlp: false, head: false },
  tiedHead: true,
} as const;

const withBias = {
  norm: { kind: "layer", eps: 1e-5, bias: true },
  bias: { qkv: true, attnProj: true, mlp: true, head: false },
} as const;

function kraken(ways: number, overrides: Partial<KrakenConfig> = {}): KrakenConfig {
  return {
    ...common,
    architecture: "kraken",
    ways,
    hiddenSize: 38,
    heads: 2,
    kvHeads: 2,
    headDim: 19,
    ffnSize: 76,
    conjunctionBias: false,
    ...overrides,
  };
}

const split = { ...common, hiddenSize: 60, heads: 12, kvHeads: 12, headDim: 5, ffnSize: 120 } as const;
const gpt = (overrides: Partial<GptConfig> = {}): GptConfig => ({
  ...split,
  architecture: "gpt",
  ...overrides,
});
const ladder = (overrides: Partial<LadderConfig> = {}): LadderConfig => ({
  ...split,
  architecture: "ladder",
  ...overrides,
});
const parallel = (overrides: Partial<ParallelConfig> = {}): ParallelConfig => ({
  ...split,
  architecture: "parallel",
  separateNorms: true,
  ...overrides,
});

const rotary = (dims: number, interleaved: boolean) =>
  ({ kind: "rotary", dims, base: 10000, interleaved }) as const;
const modern = {
  norm: { kind: "rms", eps: 1e-6, bias: false },
  activation: "swiglu",
} as const;

const divisors = (n: number) => Array.from({ length: n }, (_, i) => i + 1).filter((r) => n % r === 0);
const upToFour = [1, 2, 3, 4];

export const parityCases: ParityCase[] = [
  ...[1, 2, 3, 4, 6].map((ways) => ({
    name: `kraken ${ways}-way`,
    config: kraken(ways),
    ranks: divisors(ways),
  })),
  {
    name: "kraken 4-way, biases, FFN 4, head dim 17",
    config: kraken(4, {
      ...withBias,
      conjunctionBias: true,
      hiddenSize: 51,
      heads: 3,
      kvHeads: 3,
      headDim: 17,
      ffnSize: 204,
    }),
    ranks: [1, 2, 4],
  },
  {
    name: "kraken 6-way, biases, FFN 3, one layer",
    config: kraken(6, { ...withBias, conjunctionBias: true, layers: 1, ffnSize: 114 }),
    ranks: [1, 2, 3, 6],
  },
  {
    name: "kraken 2-way, rotary, SwiGLU, RMSNorm, one key/value head, untied head",
    config: kraken(2, { ...modern, positions: rotary(10, true), kvHeads: 1, tiedHead: false }),
    ranks: [1, 2],
  },
  { name: "gpt", config: gpt(), ranks: upToFour },
  { name: "gpt, biases, FFN 4", config: gpt({ ...withBias, ffnSize: 240 }), ranks: upToFour },
  {
    name: "gpt, half-split rotary, SwiGLU, RMSNorm, grouped key/value heads, untied head with bias",
    config: gpt({
      ...modern,
      positions: rotary(4, false),
      kvHeads: 4,
      tiedHead: false,
      bias: { qkv: true, attnProj: false, mlp: false, head: true },
      ffnSize: 181,
    }),
    ranks: [1, 2, 4],
  },
  {
    name: "parallel, two norms, erf-GELU",
    config: parallel({ ...withBias, activation: "gelu_erf" }),
    ranks: upToFour,
  },
  {
    name: "parallel, one norm, interleaved rotary, head bias",
    config: parallel({
      separateNorms: false,
      positions: rotary(4, true),
      tiedHead: false,
      norm: { kind: "layer", eps: 1e-5, bias: true },
      bias: { qkv: false, attnProj: false, mlp: true, head: true },
      headDim: 7,
      ffnSize: 179,
    }),
    ranks: upToFour,
  },
  { name: "ladder", config: ladder(), ranks: upToFour },
  { name: "ladder, biases, FFN 3", config: ladder({ ...withBias, ffnSize: 180 }), ranks: upToFour },
  { name: "ladder, one layer", config: ladder({ layers: 1, ...withBias }), ranks: [1, 2] },
];
