/**
 * A roofline of the time to first token: what a prefill takes if arithmetic, device memory and the link each run at a
 * given share of their peak rate, and an all-reduce hides behind whatever does not need its result. docs/plan.md
 * derives the formulas. Norms, kernel launches, sampling and contention between overlapped kernels cost nothing here,
 * and neither does the logits head unless a vocabulary is given: this is a bound, not a promise.
 */
import { ArgumentError } from "../errors.js";
import type { Architecture } from "../model-config.js";
import { integerOption, numberOption, optionError } from "../options.js";
import { type Efficiencies, type Hardware, peak } from "./hardware.js";

export interface TtftQuestion {
  architecture: Architecture;
  layers: number;
  /** d: width of a residual stream. */
  hiddenSize: number;
  /** N of a Kraken, a multiple of the ranks; default: the ranks. The other architectures have 1. */
  ways?: number;
  ranks: number;
  /** Prompt tokens of each sequence. */
  contextLength: number;
  /** Default 1. */
  batch?: number;
  /** Adds the logits head over that many entries, split over the ranks. Default 0: left out. */
  vocabSize?: number;
  hardware: Hardware;
  /** Default: peak rates. */
  efficiencies?: Efficiencies;
  /** Of an element of weights and messages; default 2. */
  dtypeBytes?: number;
  /** "none": the bound that is reached if no collective costs anything. */
  communication?: "overlapped" | "none";
  /** Rows that Kraken's blocking collective carries: the whole prompt (default), or each sequence's last token. */
  conjunction?: "prompt" | "last";
}

export interface Prediction {
  /** computeMs + exposedMs. */
  ttftMs: number;
  /** Arithmetic or weight traffic of a rank, whichever is longer. */
  computeMs: number;
  /** What the all-reduces would take one after another. */
  allReduceMs: number;
  /** The part of it that nothing hides. */
  exposedMs: number;
}

/** The rates a rank reaches, and the size of the problem. */
interface Setting {
  ranks: number;
  /** Kraken: ways of a rank. */
  held: number;
  tokens: number;
  flops: number;
  bytesPerSecond: number;
  dtypeBytes: number;
}

/** A part of a block on one rank: so many weights, each used once a token, and other flop. Seconds. */
function roofline(s: Setting, weights: number, otherFlop: number): number {
  return Math.max(
    (2 * weights * s.tokens + otherFlop) / s.flops,
    (weights * s.dtypeBytes) / s.bytesPerSecond,
  );
}

/**
 * An all-reduce of `bytes`, in two shots or around a ring: each rank sends (and receives) 2(R − 1)/R of the message.
 * Seconds; 0 for one rank.
 */
export function allReduceSeconds(
  bytes: number,
  ranks: number,
  hardware: Hardware,
  linkEfficiency = 1,
): number {
  if (ranks === 1) return 0;
  const { latencySeconds, bytesPerSecond } = hardware.link;
  return latencySeconds + (2 * (ranks - 1) * bytes) / (ranks * bytesPerSecond * linkEfficiency);
}

const expectedShare = "a number over 0 and at most 1";

function checkEfficiencies(efficiencies: Efficiencies): void {
  for (const key of ["flop", "link", "hbm"] as const) {
    const accept = (value: number) => value > 0 && value <= 1;
    numberOption(`efficiencies.${key}`, efficiencies[key], {
      expected: expectedShare,
      accept,
      fallback: Number.NaN,
    });
    if (efficiencies[key] === undefined) throw optionError(`efficiencies.${key}`, expectedShare, undefined);
  }
}

function checked(question: TtftQuestion) {
  const required = (name: "layers" | "hiddenSize" | "ranks" | "contextLength") => {
    if (question[name] === undefined) throw optionError(name, "given", undefined);
    return integerOption(name, question[name], { min: 1, fallback: 1 });
  };
  const ranks = required("ranks");
  const kraken = question.architecture === "kraken";
  const ways = integerOption("ways", question.ways, { min: 1, fallback: kraken ? ranks : 1 });
  if (kraken && ways % ranks !== 0) {
    throw new ArgumentError("ERR_RANKS", `\`ranks\` must divide \`ways\` (${ways}): got ${ranks}`);
  }
  const efficiencies = question.efficiencies ?? peak;
  checkEfficiencies(efficiencies);
  return {
    ranks,
    ways,
    efficiencies,
    layers: required("layers"),
    d: required("hiddenSize"),
    context: required("contextLength"),
    batch: integerOption("batch", question.batch, { min: 1, fallback: 1 }),
    vocab: integerOption("vocabSize", question.vocabSize, { min: 0, fallback: 0 }),
    dtypeBytes: integerOption("dtypeBytes", question.dtypeBytes, { min: 1, max: 8, fallback: 2 }),
  };
}

/**
 * Predicts the prefill of one step.
 * @throws ArgumentError ERR_OPTION, or ERR_RANKS if the ranks do not divide a Kraken's ways
 */
export function predictTtft(question: TtftQuestion): Prediction {
  const { ranks, ways, layers, d, context, batch, vocab, dtypeBytes, efficiencies } = checked(question);
  const { architecture, hardware, conjunction = "prompt" } = question;
  const kraken = architecture === "kraken";
  const held = kraken ? ways / ranks : 1;
  const setting: Setting = {
    ranks,
    held,
    tokens: batch * context,
    flops: hardware.flopsPerSecond * efficiencies.flop,
    bytesPerSecond: hardware.memoryBytesPerSecond * efficiencies.hbm,
    dtypeBytes,
  };
  // A rank's share of a block: a Kraken's ways are whole, everything else is split over the ranks.
  const share = kraken ? held : 1 / ranks;
  const attentionWeights = 4 * d * d * share;
  const mlpWeights = (kraken ? 4 : 8) * d * d * share;
  const scores = 2 * batch * context * context * d * share; // QKᵀ and its product with V, causal: half of each
  const attention = roofline(setting, attentionWeights, scores);
  const mlp = roofline(setting, mlpWeights, 0);
  const head = { ...setting, tokens: batch };
  const logits = vocab === 0 ? 0 : roofline(head, (vocab * d) / ranks + (kraken ? held * d * d : 0), 0);
  const compute = layers * roofline(setting, attentionWeights + mlpWeights, scores) + logits;

  const allReduce = (rows: number) =>
    allReduceSeconds(rows * d * dtypeBytes, ranks, hardware, efficiencies.link);
  const message = allReduce(setting.tokens);
  const last = conjunction === "last" ? allReduce(batch) : message;
  const beside = (window: number) => Math.max(0, message - window);
  const [total, exposed] = {
    gpt: () => [2 * layers * message, 2 * layers * message],
    parallel: () => [layers * message, layers * message],
    // Each module's sum travels beside the next module; the last one's has none.
    ladder: () => [2 * layers * message, layers * beside(mlp) + (layers - 1) * beside(attention) + message],
    // The first layer has no exchange; the conjunction's is the only one that blocks.
    kraken: () => [(layers - 1) * message + last, (layers - 1) * beside(attention) + last],
  }[architecture]() as [number, number];
  const waited = question.communication === "none" ? 0 : exposed;
  return {
    ttftMs: (compute + waited) * 1e3,
    computeMs: compute * 1e3,
    allReduceMs: (question.communication === "none" ? 0 : total) * 1e3,
    exposedMs: waited * 1e3,
  };
}
