/** Cells of a table: every size at every rank count and context, the four architectures at one parameter budget. */
import { ArgumentError } from "../errors.js";
import { integerOption } from "../options.js";
import { geometricMean } from "../report/statistics.js";
import type { Contest } from "./break-even.js";
import { type Prediction, predictTtft } from "./cost-model.js";
import type { Efficiencies, Hardware } from "./hardware.js";
import { krakenWidth, paperSizes, paperVocabSize, type Shape, shapeNamed } from "./shapes.js";

/** What the paper measured: 8 A100 of 40 GB, TensorRT-LLM, fp16, batch 1 (arXiv 2408.07802, section 5). */
export const published = { geometricMean: 0.356, lowest: 0.109, highest: 0.637 } as const;

export const paperHardware = "a100-40gb";
export const paperRanks: readonly number[] = [4, 8];
export const paperContexts: readonly number[] = [128, 2048];

export interface GridOptions {
  hardware: Hardware;
  efficiencies?: Efficiencies;
  /** Default: the paper's five. */
  shapes?: readonly Shape[];
  /** Default 4 and 8. */
  ranks?: readonly number[];
  /** N of the Krakens, a multiple of every rank count; default: the cell's ranks. */
  ways?: number;
  /** Default 128 and 2048. */
  contexts?: readonly number[];
  batch?: number;
  dtypeBytes?: number;
  vocabSize?: number;
  /** Kraken's width is a multiple of it; default 64. */
  roundTo?: number;
  conjunction?: "prompt" | "last";
  /** Counts the logits head (and Kraken's conjunction weights) too; default false. */
  logitsHead?: boolean;
}

export const variants = ["gpt", "parallel", "ladder", "kraken"] as const;
export type Variant = (typeof variants)[number];
/** Variants without their collectives. Parallel and ladder have the bound of gpt. */
export type Bound = "gptBound" | "krakenBound";

export interface Cell {
  size: string;
  layers: number;
  hiddenSize: number;
  krakenWidth: number;
  /** Of the Kraken. */
  ways: number;
  ranks: number;
  contextLength: number;
  predictions: Record<Variant | Bound, Prediction>;
  /** Share of the standard transformer's time that its all-reduces take. */
  allReduceShare: number;
  /** TTFT of the standard transformer over that of each, minus 1. */
  speedUp: Record<Exclude<Variant, "gpt"> | Bound, number>;
}

export interface Means {
  /** undefined: all of them. */
  ranks?: number;
  speedUp: Cell["speedUp"];
}

export interface Grid {
  cells: Cell[];
  /** Geometric means for each rank count, then over all. */
  means: Means[];
}

/** What every question of a grid has in common. */
function settingOf(options: GridOptions) {
  const { hardware, efficiencies, batch, dtypeBytes, conjunction } = options;
  return {
    hardware,
    ...(efficiencies && { efficiencies }),
    ...(batch !== undefined && { batch }),
    ...(dtypeBytes !== undefined && { dtypeBytes }),
    ...(conjunction && { conjunction }),
    ...(options.logitsHead && { vocabSize: options.vocabSize ?? paperVocabSize }),
  };
}

/** The two questions of a cell whose answers a break-even compares. */
export function contestOf(cell: Cell, options: GridOptions): Contest {
  const { layers, ranks, ways, contextLength, hiddenSize, krakenWidth } = cell;
  const question = { ...settingOf(options), layers, ranks, contextLength };
  return {
    standard: { ...question, architecture: "gpt", hiddenSize },
    kraken: { ...question, architecture: "kraken", hiddenSize: krakenWidth, ways },
  };
}

function cell(shape: Shape, ranks: number, contextLength: number, options: GridOptions): Cell {
  const vocabSize = options.vocabSize ?? paperVocabSize;
  const { layers, hiddenSize } = shape;
  if (hiddenSize % ranks !== 0) {
    throw new ArgumentError(
      "ERR_RANKS",
      `\`ranks\` must divide the width of ${shape.name} (${hiddenSize}), or its heads cannot be split: got ${ranks}`,
    );
  }
  const ways = options.ways ?? ranks;
  const narrow = krakenWidth(shape, ways, vocabSize, options.roundTo);
  const predict = (architecture: Variant, communication: "overlapped" | "none" = "overlapped") =>
    predictTtft({
      ...settingOf(options),
      architecture,
      communication,
      layers,
      ...(architecture === "kraken" ? { hiddenSize: narrow, ways } : { hiddenSize }),
      ranks,
      contextLength,
    });
  const predictions = {
    gpt: predict("gpt"),
    parallel: predict("parallel"),
    ladder: predict("ladder"),
    kraken: predict("kraken"),
    gptBound: predict("gpt", "none"),
    krakenBound: predict("kraken", "none"),
  };
  const gain = (of: Variant | Bound) => predictions.gpt.ttftMs / predictions[of].ttftMs - 1;
  return {
    size: shape.name,
    layers,
    hiddenSize,
    krakenWidth: narrow,
    ways,
    ranks,
    contextLength,
    predictions,
    allReduceShare: predictions.gpt.exposedMs / predictions.gpt.ttftMs,
    speedUp: eachSpeedUp(gain),
  };
}

function eachSpeedUp(of: (key: keyof Cell["speedUp"]) => number): Cell["speedUp"] {
  return {
    parallel: of("parallel"),
    ladder: of("ladder"),
    kraken: of("kraken"),
    gptBound: of("gptBound"),
    krakenBound: of("krakenBound"),
  };
}

/**
 * Predicts every cell. Without shapes, ranks and contexts: the 20 cells of the paper.
 * @throws ArgumentError ERR_OPTION, or ERR_RANKS where the ranks do not divide a width
 */
export function predictGrid(options: GridOptions): Grid {
  const shapes = options.shapes ?? paperSizes.map(shapeNamed);
  const rankCounts = options.ranks ?? paperRanks;
  const contexts = options.contexts ?? paperContexts;
  integerOption("vocabSize", options.vocabSize, { min: 0, fallback: 0 });
  for (const ranks of rankCounts) integerOption("ranks", ranks, { min: 1, fallback: 1 });
  const cells = rankCounts.flatMap((ranks) =>
    shapes.flatMap((shape) => contexts.map((context) => cell(shape, ranks, context, options))),
  );
  const mean = (some: readonly Cell[]) =>
    eachSpeedUp((key) => geometricMean(some.map(({ speedUp }) => 1 + speedUp[key])) - 1);
  const means: Means[] = rankCounts.map((ranks) => ({
    ranks,
    speedUp: mean(cells.filter((one) => one.ranks === ranks)),
  }));
  if (rankCounts.length > 1) means.push({ speedUp: mean(cells) });
  return { cells, means };
}
