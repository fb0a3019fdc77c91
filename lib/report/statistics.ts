/**
 * Statistics of timing samples, under the names that people know.
 * A percentile is interpolated linearly between the two samples around rank p·(n − 1), counted from 0: what NumPy
 * does by default (type 7 of Hyndman and Fan, 1996). The median is the 50th. `std` is the sample's, over n − 1.
 */
import { optionError } from "../options.js";

export interface Summary {
  n: number;
  min: number;
  mean: number;
  median: number;
  max: number;
  /** 0 for a single sample. */
  std: number;
  p90: number;
  p95: number;
  p99: number;
}

function checkSamples(name: string, samples: readonly number[]): void {
  if (samples.length === 0) throw optionError(name, "at least one sample", samples);
  const bad = samples.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw optionError(name, "finite numbers", bad);
}

/** Of samples in ascending order; `fraction` from 0 to 1. */
function percentileOfSorted(sorted: ArrayLike<number>, fraction: number): number {
  const rank = fraction * (sorted.length - 1);
  const below = sorted[Math.floor(rank)]!;
  return below + (sorted[Math.ceil(rank)]! - below) * (rank - Math.floor(rank));
}

/** @param p from 0 to 100 */
export function percentile(samples: readonly number[], p: number): number {
  checkSamples("samples", samples);
  if (!(p >= 0 && p <= 100)) throw optionError("p", "a number from 0 to 100", p);
  return percentileOfSorted(Float64Array.from(samples).sort(), p / 100);
}

export const median = (samples: readonly number[]): number => percentile(samples, 50);

export function summarize(samples: readonly number[]): Summary {
  checkSamples("samples", samples);
  const sorted = Float64Array.from(samples).sort();
  const n = sorted.length;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / n;
  const squares = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    n,
    min: sorted[0]!,
    mean,
    median: percentileOfSorted(sorted, 0.5),
    max: sorted[n - 1]!,
    std: n > 1 ? Math.sqrt(squares / (n - 1)) : 0,
    p90: percentileOfSorted(sorted, 0.9),
    p95: percentileOfSorted(sorted, 0.95),
    p99: percentileOfSorted(sorted, 0.99),
  };
}

/** Of positive numbers, such as speed-ups. */
export function geometricMean(values: readonly number[]): number {
  checkSamples("values", values);
  const bad = values.find((value) => value <= 0);
  if (bad !== undefined) throw optionError("values", "positive numbers", bad);
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Uniform numbers in [0, 1), the same for the same seed everywhere (mulberry32, 32 bits of state). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface BootstrapOptions {
  /** Default 0. */
  seed?: number;
  /** Default 2000. */
  resamples?: number;
  /** Default 0.95. */
  confidence?: number;
}

export interface Interval {
  estimate: number;
  low: number;
  high: number;
}

/**
 * A function of several samples' medians with its bootstrap interval: every sample is drawn again with replacement,
 * independently, and the interval is what lies between the outer percentiles (Efron's percentile method).
 */
export function bootstrapMedians(
  samples: readonly (readonly number[])[],
  statistic: (medians: readonly number[]) => number,
  { seed = 0, resamples = 2000, confidence = 0.95 }: BootstrapOptions = {},
): Interval {
  for (const one of samples) checkSamples("samples", one);
  if (!(confidence > 0 && confidence < 1)) throw optionError("confidence", "between 0 and 1", confidence);
  if (!(Number.isInteger(resamples) && resamples >= 1)) {
    throw optionError("resamples", "an integer of at least 1", resamples);
  }
  const random = randomNumbers(seed);
  const redrawnMedian = (sample: readonly number[]) => {
    const drawn = Float64Array.from(sample, () => sample[Math.floor(random() * sample.length)]!);
    return percentileOfSorted(drawn.sort(), 0.5);
  };
  const drawn = Float64Array.from({ length: resamples }, () => statistic(samples.map(redrawnMedian))).sort();
  const tail = (1 - confidence) / 2;
  return {
    estimate: statistic(samples.map(median)),
    low: percentileOfSorted(drawn, tail),
    high: percentileOfSorted(drawn, 1 - tail),
  };
}

/** median(numerator) / median(denominator) with its bootstrap interval. */
export function ratioOfMedians(
  numerator: readonly number[],
  denominator: readonly number[],
  options: BootstrapOptions = {},
): Interval {
  checkSamples("numerator", numerator);
  checkSamples("denominator", denominator);
  return bootstrapMedians([numerator, denominator], ([above, below]) => above! / below!, options);
}
