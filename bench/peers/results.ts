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

/** Largest relative error of the logits by dtype; ours in float32 is the reference. */
export const tolerance: Record<PeerDType, number> = {
  float32: 1e-4,
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

/** Ours in the first dtype that was measured: what every other row of a model is set against. */
export function baseline(report: PeersReport, model: Model): PeerResult | undefined {
  return report.results.find(
    (result) => result.model === model && result.runtime === "kraken-engine" && result.status === "measured",
  );
}

export interface Figure {
  medianMs: number;
  /** Median over that of the baseline: how many times as long; undefined without a baseline. */
  ratio: Interval | undefined;
}

export function figure(report: PeersReport, result: PeerResult, metric: string): Figure {
  const samples = result.samplesMs[metric]!;
  const ours = baseline(report, result.model)?.samplesMs[metric];
  return { medianMs: median(samples), ratio: ours && ratioOfMedians(samples, ours) };
}

export interface Headline extends Figure {
  metric: string;
  peer: PeerResult;
}

/** The fastest peer for each metric; those that compute in 8 bits don't count against ours in 16 or 32. */
export function headlines(report: PeersReport, model: Model): Headline[] {
  const ours = baseline(report, model);
  const peers = report.results.filter(
    (result) =>
      result.model === model &&
      result.status === "measured" &&
      result.runtime !== "kraken-engine" &&
      (result.dtype === "int8") === (ours?.dtype === "int8"),
  );
  if (!ours || peers.length === 0) return [];
  return report.metrics.map((metric) => {
    const times = peers.map((peer) => ({ metric, peer, ...figure(report, peer, metric) }));
    return times.reduce((best, time) => (time.medianMs < best.medianMs ? time : best));
  });
}
