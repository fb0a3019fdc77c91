/** The question backwards: which Kraken to train for a number of parameters and ranks, and what it needs of memory. */
import { ArgumentError } from "../errors.js";
import { type KrakenConfig, parameterCount } from "../model-config.js";
import { integerOption, numberOption } from "../options.js";
import { exactKrakenWidth, paperVocabSize, shapeNamed, standardParameters } from "./shapes.js";

export interface DesignQuestion {
  targetParams: number;
  ranks: number;
  /** A multiple of the ranks; default: the ranks. */
  ways?: number;
  /** Default: that of GPT-3 models of the size, give or take a few. */
  layers?: number;
  /** Positions the model learns, and the context that `kvBytes` is for. Default 2048. */
  contextLength?: number;
  vocabSize?: number;
  dtypeBytes?: number;
}

export interface Design {
  config: KrakenConfig;
  parameters: number;
  /** parameters / targetParams − 1. */
  deviation: number;
  perRank: {
    weightBytes: number;
    kvBytesPerToken: number;
    /** For one sequence of contextLength tokens. */
    kvBytes: number;
    /** What a standard transformer of this depth and budget keeps for a token. */
    standardKvBytesPerToken: number;
  };
}

/** Cost of a head dimension, in parameter deviation that would be as bad: attention kernels exist for few of them. */
const headDimCost: Record<number, number> = { 64: 0, 80: 0.004, 96: 0.002, 128: 0 };
const otherHeadDimCost = 0.02;
/** GEMM tiles want widths that are multiples of 64. */
const raggedWidthCost = 0.01;
/** Weight of a relative change of depth. */
const depthCost = 0.1;

/** Depth of a GPT-3 model of that size: between the sizes of the series linear in log-log, and beyond them too. */
export function usualLayers(parameters: number, vocabSize = paperVocabSize): number {
  const series = ["125m", "350m", "760m", "1.3b", "6.7b", "13b", "65b", "175b"].map((name) => {
    const shape = shapeNamed(name);
    return { x: Math.log(standardParameters(shape, vocabSize)), y: Math.log(shape.layers) };
  });
  const x = Math.log(parameters);
  const above = series.findIndex((point) => point.x >= x);
  const end = Math.max(1, above < 0 ? series.length - 1 : above);
  const [a, b] = [series[end - 1]!, series[end]!];
  return Math.max(1, Math.round(Math.exp(a.y + ((x - a.x) / (b.x - a.x)) * (b.y - a.y))));
}

function configOf(
  ways: number,
  layers: number,
  heads: number,
  headDim: number,
  q: Required<Budget>,
): KrakenConfig {
  const hiddenSize = heads * headDim;
  return {
    architecture: "kraken",
    ways,
    layers,
    hiddenSize,
    heads,
    kvHeads: heads,
    headDim,
    ffnSize: 2 * hiddenSize,
    vocabSize: q.vocabSize,
    maxPositions: q.contextLength,
    norm: { kind: "layer", eps: 1e-5, bias: false },
    activation: "gelu_tanh",
    positions: { kind: "learned" },
    bias: { qkv: false, attnProj: false, mlp: false, head: false },
    tiedHead: true,
    conjunctionBias: false,
  };
}

type Budget = Pick<DesignQuestion, "vocabSize" | "contextLength">;

/** Bytes of one rank: its ways' blocks and conjunctions; embeddings and the last norm are whole on every rank. */
function memoryOf(config: KrakenConfig, ranks: number, dtypeBytes: number): Design["perRank"] {
  const { layers, hiddenSize: d, vocabSize, maxPositions, ways } = config;
  const whole = (vocabSize + maxPositions + 1) * d;
  const split = parameterCount(config) - whole;
  const standardWidth = solveStandardWidth(layers * ways * 8 * d * d + vocabSize * d, layers, vocabSize);
  const kvBytesPerToken = ((2 * layers * ways * d) / ranks) * dtypeBytes;
  return {
    weightBytes: (whole + split / ranks) * dtypeBytes,
    kvBytesPerToken,
    kvBytes: kvBytesPerToken * maxPositions,
    standardKvBytesPerToken: Math.round(((2 * layers * standardWidth) / ranks) * dtypeBytes),
  };
}

/** D at which V·D + 12·L·D² is `parameters`: 12·L takes the place of 8·L·N. */
const solveStandardWidth = (parameters: number, layers: number, vocabSize: number) =>
  exactKrakenWidth(parameters, layers, 1.5, vocabSize);

/** Every candidate: depths about the usual, head dims that are multiples of 8, one head more or less. */
function* candidates(target: number, ways: number, depths: readonly number[], budget: Required<Budget>) {
  for (const layers of depths) {
    const width = exactKrakenWidth(target, layers, ways, budget.vocabSize);
    for (let headDim = 64; headDim <= 128; headDim += 8) {
      for (const heads of [Math.floor(width / headDim), Math.ceil(width / headDim)]) {
        if (heads >= 1) yield configOf(ways, layers, heads, headDim, budget);
      }
    }
  }
}

/**
 * Krakens near a number of parameters, the best first: near the target, of usual depth, with head dimensions that
 * attention kernels have (64 and 128, then 96 and 80) and widths that GEMM tiles divide.
 * @throws ArgumentError ERR_OPTION, or ERR_RANKS if the ranks do not divide the ways
 */
export function designKraken(question: DesignQuestion, most = 5): Design[] {
  const target = numberOption("targetParams", question.targetParams, {
    expected: "a number from 1e6 to 1e14",
    accept: (value) => value >= 1e6 && value <= 1e14,
    fallback: Number.NaN,
  });
  const ranks = integerOption("ranks", question.ranks, { min: 1, fallback: 1 });
  const ways = integerOption("ways", question.ways, { min: 1, fallback: ranks });
  if (ways % ranks !== 0) {
    throw new ArgumentError("ERR_RANKS", `\`ranks\` must divide \`ways\` (${ways}): got ${ranks}`);
  }
  const budget = {
    contextLength: integerOption("contextLength", question.contextLength, { min: 1, fallback: 2048 }),
    vocabSize: integerOption("vocabSize", question.vocabSize, { min: 1, fallback: paperVocabSize }),
  };
  const dtypeBytes = integerOption("dtypeBytes", question.dtypeBytes, { min: 1, max: 8, fallback: 2 });
  const usual = integerOption("layers", question.layers, {
    min: 1,
    fallback: usualLayers(target, budget.vocabSize),
  });
  const slack = question.layers === undefined ? Math.max(1, Math.round(usual * 0.1)) : 0;
  const depths = Array.from({ length: 2 * slack + 1 }, (_, i) => usual - slack + i).filter(
    (depth) => depth >= 1,
  );

  const scored = [...candidates(target, ways, depths, budget)].map((config) => {
    const parameters = parameterCount(config);
    const deviation = parameters / target - 1;
    const cost =
      Math.abs(deviation) +
      depthCost * Math.abs(config.layers / usual - 1) +
      (headDimCost[config.headDim] ?? otherHeadDimCost) +
      (config.hiddenSize % 64 === 0 ? 0 : raggedWidthCost);
    return { cost, design: { config, parameters, deviation, perRank: memoryOf(config, ranks, dtypeBytes) } };
  });
  scored.sort((a, b) => a.cost - b.cost);
  const best = scored[0];
  if (!best || Math.abs(best.design.deviation) > 0.25) {
    throw new ArgumentError(
      "ERR_OPTION",
      `no Kraken of ${ways} ways with head dimensions of 64 or more has about ${target} parameters: ` +
        "more of them, fewer ways, another number of layers or a smaller vocabulary would do",
    );
  }
  const designs = new Map<string, Design>(); // the best split into heads of each depth and width
  for (const { design } of scored) {
    const key = `${design.config.layers} ${design.config.hiddenSize}`;
    if (!designs.has(key)) designs.set(key, design);
  }
  return [...designs.values()].slice(0, most);
}
