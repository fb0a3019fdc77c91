/** The sizes of Kraken's paper, and the Kraken that has as many parameters as a standard transformer. */
import { ArgumentError } from "../errors.js";
import { closest, integerOption } from "../options.js";

/** A standard transformer; its MLP has 4·d columns. */
export interface Shape {
  name: string;
  layers: number;
  hiddenSize: number;
  /** Whose models have this shape; absent: the caller's own. */
  source?: string;
}

/** Of the paper's latency figures (arXiv 2408.07802, section 5). */
export const paperVocabSize = 51_200;

const shape = (name: string, layers: number, hiddenSize: number, source = "GPT-3"): Shape => ({
  name,
  layers,
  hiddenSize,
  source,
});

/**
 * The GPT-3 series (arXiv 2005.14165, table 2.1; the paper's 13B has 5140 there, 5120 is what people build), and for
 * 65B Llama's (arXiv 2302.13971). Kraken's authors name the sizes; their table of shapes is assumed to be this one.
 */
const shapes: readonly Shape[] = [
  shape("125m", 12, 768),
  shape("350m", 24, 1024),
  shape("760m", 24, 1536),
  shape("1.3b", 24, 2048),
  shape("2.7b", 32, 2560),
  shape("6.7b", 32, 4096),
  shape("13b", 40, 5120),
  shape("65b", 80, 8192, "Llama"),
  shape("175b", 96, 12288),
];

export const paperSizes = ["1.3b", "6.7b", "13b", "65b", "175b"] as const;
export const shapeNames: readonly string[] = shapes.map(({ name }) => name);

/**
 * A size by name, "1.3b" or "paper:1.3b".
 * @throws ArgumentError ERR_OPTION for an unknown one, with the one probably meant
 */
export function shapeNamed(name: string): Shape {
  const plain = name.toLowerCase().replace(/^paper:/, "");
  const found = shapes.find((known) => known.name === plain);
  if (found) return found;
  const meant = closest(plain, shapeNames);
  const hint = meant ? `did you mean ${meant}?` : `known: ${shapeNames.join(", ")}`;
  throw new ArgumentError("ERR_OPTION", `unknown size ${JSON.stringify(name)}; ${hint}`);
}

/** V·D + 12·L·D²: what the paper counts, without norms, biases and positions. */
export function standardParameters({ layers, hiddenSize }: Shape, vocabSize: number): number {
  return vocabSize * hiddenSize + 12 * layers * hiddenSize ** 2;
}

/** The width d, not rounded, at which V·d + 8·L·N·d² is `parameters` (arXiv 2408.07802, section 3). */
export function exactKrakenWidth(
  parameters: number,
  layers: number,
  ways: number,
  vocabSize: number,
): number {
  const square = 8 * layers * ways;
  return (Math.sqrt(vocabSize ** 2 + 4 * square * parameters) - vocabSize) / (2 * square);
}

/** The width of the Kraken of the same depth and parameter budget, rounded to a multiple. */
export function krakenWidth(
  standard: Shape,
  ways: number,
  vocabSize = paperVocabSize,
  multiple = 64,
): number {
  integerOption("ways", ways, { min: 1, fallback: 1 });
  integerOption("roundTo", multiple, { min: 1, fallback: 1 });
  const exact = exactKrakenWidth(standardParameters(standard, vocabSize), standard.layers, ways, vocabSize);
  return Math.max(1, Math.round(exact / multiple)) * multiple;
}

/** A standard transformer of any size. */
export function customShape(layers: number, hiddenSize: number): Shape {
  integerOption("layers", layers, { min: 1, fallback: 1 });
  integerOption("hiddenSize", hiddenSize, { min: 1, fallback: 1 });
  return { name: `${layers} x ${hiddenSize}`, layers, hiddenSize };
}
