/**
 * The sizes of Kraken's paper as models: the four architectures at one parameter budget. Where its authors trained a
 * Kraken of that size and number of ways, it is that one; otherwise the width is solved from the budget, as the
 * planner does, and rounded to whole heads of a dimension that attention kernels have.
 */
import type { Architecture, ModelConfig } from "../model-config.js";
import {
  exactKrakenWidth,
  krakenWidth,
  paperVocabSize,
  shapeNamed,
  standardParameters,
} from "../plan/shapes.js";
import { preset, presetNames } from "../presets.js";
import { type Comparison, type Contender, labels } from "./contender.js";

export interface PaperOptions {
  /** Default: all four. */
  architectures?: readonly Architecture[] | undefined;
  /** Of every Kraken; default: the ranks, and two on one rank. */
  ways?: number | undefined;
  /** Share of the layers that is kept, over 0 and at most 1; default 1. The authors ran 65b and 175b with 0.25. */
  layersFraction?: number | undefined;
}

/** Of the GPT-3 series and of Llama 65B, where the product with the head dimension is the width. */
const standardHeadDim: Record<string, number> = { "760m": 96, "1.3b": 128, "2.7b": 80 };
const usualHeadDim = (size: string) => standardHeadDim[size] ?? (/m$/.test(size) ? 64 : 128);

/** The largest contexts that were measured: the trained models' positions, and the paper's latency figures. */
const trainedPositions = 1024;
const measuredPositions = 2048;

interface Sizes {
  layers: number;
  hiddenSize: number;
  headDim: number;
  ffnSize: number;
  vocabSize: number;
  maxPositions: number;
}

function configOf(architecture: Architecture, ways: number, { headDim, ...sizes }: Sizes): ModelConfig {
  const heads = sizes.hiddenSize / headDim;
  const common = {
    ...sizes,
    heads,
    kvHeads: heads,
    headDim,
    norm: { kind: "layer" as const, eps: 1e-5, bias: false },
    activation: "gelu_tanh" as const,
    positions: { kind: "learned" as const },
    bias: { qkv: false, attnProj: false, mlp: false, head: false },
    tiedHead: true,
  };
  switch (architecture) {
    case "kraken":
      return { architecture, ways, conjunctionBias: false, ...common };
    case "parallel":
      return { architecture, separateNorms: false, ...common };
    default:
      return { architecture, ...common };
  }
}

/** 128 if it divides the width, then 96, 80 and 64; the standard transformer's own before all. */
function headDimFor(width: number, preferred: number): number {
  return [preferred, 128, 96, 80, 64].find((headDim) => width % headDim === 0) ?? width;
}

const hasPreset = (name: string) => presetNames.includes(name);

function contender(
  size: string,
  architecture: Architecture,
  ways: number,
  layersFraction: number,
): Contender {
  const kraken = architecture === "kraken";
  const trained = kraken ? `kraken-${size}-${ways}way` : `${architecture}-${size}`;
  const label = labels[architecture];
  if (hasPreset(trained)) {
    const { config } = preset(trained);
    return shortened({ label, model: trained, config }, layersFraction);
  }
  const shape = shapeNamed(size);
  const small = hasPreset(`gpt-${size}`);
  const vocabSize = small ? preset(`gpt-${size}`).config.vocabSize : paperVocabSize;
  const maxPositions = small ? trainedPositions : measuredPositions;
  const hiddenSize = kraken ? krakenWidth(shape, ways, vocabSize) : shape.hiddenSize;
  const headDim = headDimFor(hiddenSize, usualHeadDim(size));
  const ffnSize = (kraken ? 2 : 4) * hiddenSize;
  const sizes = { layers: shape.layers, hiddenSize, headDim, ffnSize, vocabSize, maxPositions };
  const config = configOf(architecture, ways, sizes);
  const heads = `${config.heads} heads of ${headDim}`;
  const exact = exactKrakenWidth(standardParameters(shape, vocabSize), shape.layers, ways, vocabSize);
  const model = kraken
    ? `${size} with ${ways} ways of width ${hiddenSize} (${exact.toFixed(0)} has the budget), ${heads} each`
    : `${size}, width ${hiddenSize}, ${heads}`;
  return shortened({ label, model, config }, layersFraction);
}

function shortened(one: Contender, layersFraction: number): Contender {
  if (layersFraction === 1) return one;
  const layers = Math.max(1, Math.round(one.config.layers * layersFraction));
  const model = `${one.model}, ${layers} of ${one.config.layers} layers`;
  return { ...one, model, config: { ...one.config, layers } };
}

/**
 * "paper:1.3b": standard, parallel, ladder and Kraken.
 * @throws ArgumentError ERR_OPTION for an unknown size, with the one probably meant
 */
export function paperComparison(name: string, options: PaperOptions = {}): Comparison {
  const size = shapeNamed(name).name;
  const { architectures = ["gpt", "parallel", "ladder", "kraken"], ways, layersFraction = 1 } = options;
  return {
    name: `paper:${size}`,
    contenders: (ranks) =>
      architectures.map((architecture) =>
        contender(size, architecture, ways ?? Math.max(2, ranks), layersFraction),
      ),
  };
}
