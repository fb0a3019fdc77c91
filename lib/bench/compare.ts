/**
 * Two runs of the same cells: what changed, and what is noise.
 *
 * Rounds of one run share circumstances that another run has not: clocks, neighbours, where memory came to lie. So a
 * time counts as changed only if its whole interval lies beyond a threshold, and speed-ups are compared as well:
 * models of a cell took turns, and what moves all of them alike cancels out. The intervals are simultaneous
 * (Bonferroni), as of twenty comparisons of equal things one would leave a 95 % interval.
 */
import { ArgumentError } from "../errors.js";
import { numberOption } from "../options.js";
import {
  type BootstrapOptions,
  bootstrapMedians,
  geometricMean,
  type Interval,
  median,
  ratioOfMedians,
} from "../report/statistics.js";
import { baselineIndex } from "./cell.js";
import { type BenchRecord, cellKey, type VariantRecord } from "./document.js";
import type { Role } from "./grid.js";

export interface CompareOptions {
  /** What an interval has to lie beyond; default 0.05. */
  threshold?: number | undefined;
  /** Of all intervals together; default 0.95. */
  confidence?: number | undefined;
}

export type Verdict = "noise" | "faster" | "slower";

export interface Change {
  /** cellKey() */
  cell: string;
  label: string;
  role: Role;
  /** time: medians in milliseconds. speed-up: over the baseline of the same run. */
  of: "time" | "speed-up";
  before: number;
  after: number;
  /** after / before */
  ratio: Interval;
  verdict: Verdict;
}

export interface Comparison {
  changes: Change[];
  threshold: number;
  /** Geometric mean of the times' ratios. */
  drift: number;
  /** Cells and variants that only one of them has. */
  onlyBefore: string[];
  onlyAfter: string[];
  /** How the circumstances differ, in words. */
  differences: string[];
}

interface Timed {
  cell: string;
  record: VariantRecord;
  samples: readonly number[];
  /** Of the cell's baseline; undefined for itself, and for what is no main variant. */
  baseline: readonly number[] | undefined;
}

/** Variants that were timed, by cell and name. */
function timed({ cells, phase }: BenchRecord): Map<string, Timed> {
  const found = new Map<string, Timed>();
  for (const one of cells) {
    const cell = cellKey(one);
    const alive = one.variants.filter((record) => record.failure === undefined && record[phase]);
    const baseline = alive[baselineIndex(alive, one.baseline)];
    for (const record of alive) {
      const role = record.role === "main" ? "" : ` (${record.role})`;
      const compared = record.role === "main" && record !== baseline;
      found.set(`${cell}, ${record.label}${role}`, {
        cell,
        record,
        samples: record[phase]!.samplesMs,
        baseline: compared ? baseline?.[phase]?.samplesMs : undefined,
      });
    }
  }
  return found;
}

function differencesOf(before: BenchRecord, after: BenchRecord): string[] {
  const [a, b] = [before.environment, after.environment];
  const said: string[] = [];
  const compare = (what: string, was: unknown, is: unknown) => {
    if (was !== is) said.push(`${what}: ${was}, then ${is}`);
  };
  compare("processor", a.cpu.model, b.cpu.model);
  compare("cores", a.cpu.usable, b.cpu.usable);
  compare("version", a.version, b.version);
  compare("commit", a.commit, b.commit);
  compare("threads", before.settings.threads, after.settings.threads);
  if (!before.complete) said.push("the first run was interrupted");
  if (!after.complete) said.push("the second run was interrupted");
  return said;
}

/** Of a ratio of times. */
export function verdictOf({ low, high }: Interval, threshold: number): Verdict {
  if (low > 1 + threshold) return "slower";
  return high < 1 / (1 + threshold) ? "faster" : "noise";
}

const inverse = ({ estimate, low, high }: Interval): Interval => ({
  estimate: 1 / estimate,
  low: 1 / high,
  high: 1 / low,
});

/** How a variant's time changed, and its speed-up. */
function changesOf(before: Timed, after: Timed, threshold: number, bootstrap: BootstrapOptions): Change[] {
  const { cell, record } = before;
  const { label, role } = record;
  const time = ratioOfMedians(after.samples, before.samples, bootstrap);
  const changes: Change[] = [
    {
      ...{ cell, label, role },
      of: "time",
      before: median(before.samples),
      after: median(after.samples),
      ratio: time,
      verdict: verdictOf(time, threshold),
    },
  ];
  if (before.baseline && after.baseline) {
    const samples = [before.baseline, before.samples, after.baseline, after.samples];
    const ratio = bootstrapMedians(samples, ([b0, t0, b1, t1]) => b1! / t1! / (b0! / t0!), bootstrap);
    changes.push({
      ...{ cell, label, role },
      of: "speed-up",
      before: median(before.baseline) / median(before.samples),
      after: median(after.baseline) / median(after.samples),
      ratio,
      verdict: verdictOf(inverse(ratio), threshold),
    });
  }
  return changes;
}

/** @throws ArgumentError ERR_OPTION where the runs have nothing in common */
export function compareBench(
  before: BenchRecord,
  after: BenchRecord,
  options: CompareOptions = {},
): Comparison {
  const threshold = numberOption("threshold", options.threshold, {
    expected: "a number of at least 0",
    accept: (value) => value >= 0,
    fallback: 0.05,
  });
  const confidence = numberOption("confidence", options.confidence, {
    expected: "a number between 0 and 1",
    accept: (value) => value > 0 && value < 1,
    fallback: 0.95,
  });
  if (before.phase !== after.phase) {
    const names = { prefill: "times to the first token", decode: "times from token to token" };
    throw new ArgumentError(
      "ERR_OPTION",
      `one file has ${names[before.phase]}, the other ${names[after.phase]}`,
    );
  }
  const [first, second] = [timed(before), timed(after)];
  const both = [...first].filter(([key]) => second.has(key));
  if (both.length === 0) {
    throw new ArgumentError("ERR_OPTION", "the two runs have no cell in common");
  }
  const count = both.reduce((sum, [, { baseline }]) => sum + (baseline ? 2 : 1), 0);
  const each = 1 - (1 - confidence) / count;
  // Enough draws to have some beyond the outermost percentile.
  const resamples = Math.min(10_000, Math.max(2000, Math.ceil(20 / (1 - each))));
  const changes = both.flatMap(([key, one]) =>
    changesOf(one, second.get(key)!, threshold, { confidence: each, resamples }),
  );
  const times = changes.filter(({ of }) => of === "time");
  return {
    changes,
    threshold,
    drift: geometricMean(times.map(({ ratio }) => ratio.estimate)),
    onlyBefore: [...first.keys()].filter((key) => !second.has(key)),
    onlyAfter: [...second.keys()].filter((key) => !first.has(key)),
    differences: differencesOf(before, after),
  };
}
