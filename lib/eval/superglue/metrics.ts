/** Metrics with standard errors: of a mean in closed form, of an F1 by the bootstrap, as LM Evaluation Harness does. */
import { randomNumbers } from "../../report/statistics.js";

export interface Metric {
  /** From 0 to 1. */
  value: number;
  /** NaN where there is only one example. */
  stderr: number;
}

function sampleDeviation(values: ArrayLike<number>): number {
  let mean = 0;
  for (let i = 0; i < values.length; i++) mean += values[i]! / values.length;
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i]! - mean) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/** Of what each example earned: its standard error is the sample's deviation over √n. */
export function meanMetric(values: readonly number[]): Metric {
  const value = values.reduce((sum, x) => sum + x, 0) / values.length;
  return { value, stderr: sampleDeviation(values) / Math.sqrt(values.length) };
}

/** What a binary choice came to, as counts: they add up over examples. */
export interface Confusion {
  truePositives: number;
  /** False positives and false negatives: F1 does not tell them apart. */
  errors: number;
}

/** 2·TP / (2·TP + FP + FN); 0 where there is nothing to find. */
function f1({ truePositives, errors }: Confusion): number {
  return truePositives === 0 ? 0 : (2 * truePositives) / (2 * truePositives + errors);
}

const resamples = 10_000;

/**
 * Mean over classes of the F1 of all samples together. A sample is what is drawn as one in the bootstrap: an example,
 * or several that belong together.
 * @param samples [sample][class]
 */
export function f1Metric(samples: readonly (readonly Confusion[])[]): Metric {
  const classes = samples[0]!.length;
  const n = samples.length;
  const counts = (pick: (confusion: Confusion) => number) =>
    Array.from({ length: classes }, (_, c) => Int32Array.from(samples, (sample) => pick(sample[c]!)));
  const hits = counts(({ truePositives }) => truePositives);
  const misses = counts(({ errors }) => errors);
  const macroF1 = (drawn: Int32Array): number => {
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      let truePositives = 0;
      let errors = 0;
      for (let i = 0; i < n; i++) {
        truePositives += hits[c]![drawn[i]!]!;
        errors += misses[c]![drawn[i]!]!;
      }
      sum += f1({ truePositives, errors });
    }
    return sum / classes;
  };
  const drawn = Int32Array.from({ length: n }, (_, i) => i);
  const value = macroF1(drawn);
  if (n === 1) return { value, stderr: Number.NaN };
  const random = randomNumbers(0);
  const values = Float64Array.from({ length: resamples }, () => {
    for (let i = 0; i < n; i++) drawn[i] = Math.floor(random() * n);
    return macroF1(drawn);
  });
  return { value, stderr: sampleDeviation(values) };
}

/** Of one choice between yes and no. */
export const confusion = (truth: boolean, picked: boolean): Confusion => ({
  truePositives: truth && picked ? 1 : 0,
  errors: truth === picked ? 0 : 1,
});
