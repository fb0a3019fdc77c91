/** What a run found: the JSON of `--json`, and the figures that are drawn from it. */
import { type Interval, median, ratioOfMedians } from "../../lib/report/statistics.js";
import type { Model, PeerDType, Runtime } from "./options.js";

/** Largest difference of a logit from the reference, over the reference's largest magnitude. */
export interface Check {
  /** After a prompt of 128 tokens. */
  prefill: number;
  /** One decode step later. */
  decode: number;
  tolerance: number;
}

export interface PeerResult {
  model: Model;
  runtime: Runtime;
  dtype: PeerDType;
  /** failed: its logits are too far off, and it was not timed. */
  status: "measured" | "failed" | "not measured";
  /** Unless measured. */
  reason?: string;
  check?: Check;
  versions: Record<string, string>;
  /** Milliseconds of processor time that the waiting process used for each second that others were timed. */
  idleMsPerSecond?: number;
  /** Milliseconds, one a round, by metric: "ttft@128", "decode@128". */
  samplesMs: Record<string, number[]>;
}

export interface Environment {
  date: string;
  commit: string;
  cpu: string;
  cores: number;
  clockMHz: number;
  memoryBytes: number;
  system: string;
  node: string;
}

export interface PeersReport {
  environment: Environment;
  /** As given to `npm run bench:peers`. */
  command: string;
  rounds: number;
  threads: number;
  /** What `samplesMs` has, in the order of the columns. */
  metrics: string[];
  results: PeerResult[];
}

/**
 * Largest relative error of the logits by dtype; ours in float32 is the reference. Right ones stay below 3e-6, 2e-3, 1.5e-2
 * and 4e-2; a wrong one (a weight transposed, a mask off by one) is off by tenths.
 */
export const tolerance: Record<PeerDType, number> = {
  float32: 2e-5,
  float16: 1e-2,
  bfloat16: 3e-2,
  int8: 1e-1,
};

/** Largest difference over the largest magnitude of the reference; infinite when the lengths differ. */
export function relativeError(actual: Float32Array, reference: Float32Array): number {
  if (actual.length !== reference.length) return Number.POSITIVE_INFINITY;
  let [largest, scale] = [0, 0];
  for (let i = 0; i < reference.length; i++) {
    const difference = Math.abs(actual[i]! - reference[i]!);
    if (Number.isNaN(difference)) return Number.NaN;
    largest = Math.max(largest, difference);
    scale = Math.max(scale, Math.abs(reference[i]!));
  }
  return largest / scale;
}

const isOurs = ({ runtime }: PeerResult) => runtime === "kraken-engine";
const isInt8 = ({ dtype }: PeerResult) => dtype === "int8";

/** Of a model, measured. */
const measured = (report: PeersReport, model: Model) =>
  report.results.filter((result) => result.model === model && result.status === "measured");

/** Ours in the first dtype that was measured: what our other rows are set against, and peers of 16 or 32 bits. */
export function baseline(report: PeersReport, model: Model): PeerResult | undefined {
  return measured(report, model).find(isOurs);
}

/** What a row is set against: a peer in 8 bits against ours in 8 bits, if there is one. */
function opponent(report: PeersReport, result: PeerResult): PeerResult | undefined {
  const inInt8 = measured(report, result.model).find((ours) => isOurs(ours) && isInt8(ours));
  return (!isOurs(result) && isInt8(result) && inInt8) || baseline(report, result.model);
}

export interface Figure {
  medianMs: number;
  /** Median over that of ours (see opponent): how many times as long; undefined where ours was not measured. */
  ratio: Interval | undefined;
}

export function figure(report: PeersReport, result: PeerResult, metric: string): Figure {
  const samples = result.samplesMs[metric]!;
  const ours = opponent(report, result)?.samplesMs[metric];
  return { medianMs: median(samples), ratio: ours && ratioOfMedians(samples, ours) };
}

export interface Headline extends Figure {
  metric: string;
  peer: PeerResult;
}

/** The fastest peer for each metric, apart for 8 bits and for more: where both sides computed in them. */
export function headlines(report: PeersReport, model: Model): Headline[] {
  return [false, true].flatMap((int8) => {
    const rivals = measured(report, model).filter((result) => isInt8(result) === int8);
    const peers = rivals.filter((result) => !isOurs(result));
    if (!rivals.some(isOurs) || peers.length === 0) return [];
    return report.metrics.map((metric) => {
      const times = peers.map((peer) => ({ metric, peer, ...figure(report, peer, metric) }));
      return times.reduce((best, time) => (time.medianMs < best.medianMs ? time : best));
    });
  });
}
