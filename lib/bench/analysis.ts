/** From samples to what is reported: statistics, speed-ups, bounds, means, and rows for `kraken plan --calibrate`. */
import { type Architecture, type DType, type ModelConfig, waysOf } from "../model-config.js";
import {
  geometricMean,
  type Interval,
  median,
  ratioOfMedians,
  type Summary,
  summarize,
} from "../report/statistics.js";
import { baselineIndex } from "./cell.js";
import type { BenchRecord, CellRecord, PhaseRecord, VariantRecord } from "./document.js";
import type { Phase } from "./options.js";

/** A variant that was timed. Milliseconds. */
export interface Timed {
  ranks: number;
  threadsPerRank: number;
  /** As JavaScript sees it, and inside the engine. */
  time: Summary;
  /** Of the median, by bootstrap. */
  medianInterval: Interval;
  engine: Summary;
  coldMs: number;
  /** Median of the cell's baseline over this one's; null for the baseline itself. */
  speedUp: Interval | null;
  /** Of a layer: what its collectives take, and what of it was waited for. Medians; null on one rank. */
  perLayer: { collectiveMs: number; exposedMs: number } | null;
  exchanges: number;
  perOpMs: Record<string, number>;
  /** Only of a time to first token with `outputTokens` over 1: from one token to the next. */
  interToken: Summary | null;
}

/** One model of a cell. */
export interface Entry {
  label: string;
  model: string;
  architecture: Architecture;
  config: ModelConfig;
  parameters: number;
  main: Timed | null;
  /** Without its collectives; null on one rank. */
  bound: Timed | null;
  /** On one rank with all the threads. */
  oneRank: Timed | null;
  /** bound / main: 1 if communication costs nothing. */
  shareOfBound: number | null;
  /** Why something has no times. */
  failures: string[];
}

export interface CellResult {
  cell: CellRecord;
  baseline: string;
  entries: Entry[];
}

/** Geometric means of speed-ups over the baseline, by label. */
export interface Means {
  /** undefined: all of them. */
  ranks?: number;
  cells: number;
  speedUps: Record<string, number>;
  /** Of the bounds. */
  bounds: Record<string, number>;
}

/** What `kraken plan --calibrate` reads. */
export interface Row {
  architecture: Architecture;
  config: { layers: number; hiddenSize: number; vocabSize: number; ways?: number };
  ranks: number;
  context: number;
  batch: number;
  dtype: DType;
  communication: "overlapped" | "none";
  medianMs: number;
}

export interface Analysis {
  phase: Phase;
  results: CellResult[];
  /** For each rank count, then over all if there are several. */
  means: Means[];
  rows: Row[];
}

function timed(record: VariantRecord, phase: Phase, baseline: PhaseRecord | undefined): Timed | null {
  const samples = record[phase];
  if (!samples || record.failure !== undefined) return null;
  const { layers } = record.config;
  return {
    ranks: record.ranks,
    threadsPerRank: record.threadsPerRank,
    time: summarize(samples.samplesMs),
    medianInterval: ratioOfMedians(samples.samplesMs, [1]),
    engine: summarize(samples.engineMs),
    coldMs: samples.coldMs,
    speedUp: baseline && baseline !== samples ? ratioOfMedians(baseline.samplesMs, samples.samplesMs) : null,
    perLayer:
      record.ranks === 1
        ? null
        : {
            collectiveMs: median(samples.collectiveMs) / layers,
            exposedMs: median(samples.exposedMs) / layers,
          },
    exchanges: samples.exchanges,
    perOpMs: samples.perOpMs,
    interToken: phase === "prefill" && record.decode ? summarize(record.decode.samplesMs) : null,
  };
}

function resultOf(cell: CellRecord, phase: Phase): CellResult {
  const alive = cell.variants.filter((record) => record.failure === undefined && record[phase]);
  const baseline = alive[baselineIndex(alive, cell.baseline)];
  const labels = [...new Set(cell.variants.map(({ label }) => label))];
  const entries = labels.map((label): Entry => {
    const records = cell.variants.filter((record) => record.label === label);
    const { model, architecture, config, parameters } = records[0]!;
    const as = (role: VariantRecord["role"]) => {
      const record = records.find((one) => one.role === role);
      return record ? timed(record, phase, baseline?.[phase]) : null;
    };
    const [main, bound, oneRank] = [as("main"), as("bound"), as("one-rank")];
    const failures = records.flatMap(({ failure, role }) =>
      failure === undefined ? [] : [role === "main" ? failure : `${role}: ${failure}`],
    );
    const shareOfBound = main && bound ? bound.time.median / main.time.median : null;
    return { label, model, architecture, config, parameters, main, bound, oneRank, shareOfBound, failures };
  });
  return { cell, baseline: baseline?.label ?? cell.baseline, entries };
}

function meansOf(results: readonly CellResult[], ranks?: number): Means {
  const means: Means = { cells: results.length, speedUps: {}, bounds: {} };
  if (ranks !== undefined) means.ranks = ranks;
  const entries = results.flatMap((result) => result.entries);
  for (const label of new Set(entries.map((entry) => entry.label))) {
    const same = entries.filter((entry) => entry.label === label);
    for (const [key, pick] of [
      ["speedUps", (entry: Entry) => entry.main],
      ["bounds", (entry: Entry) => entry.bound],
    ] as const) {
      const ratios = same.flatMap((entry) => pick(entry)?.speedUp?.estimate ?? []);
      if (ratios.length > 0) means[key][label] = geometricMean(ratios);
    }
  }
  return means;
}

/** One rank with all the threads is no rank of the others' kind, so it has no row. */
function rowsOf({ cell, entries }: CellResult): Row[] {
  return entries.flatMap(({ architecture, config, main, bound }) => {
    const { layers, hiddenSize, vocabSize } = config;
    const ways = architecture === "kraken" ? { ways: waysOf(config) } : {};
    const { ranks, context, batch, dtype } = cell;
    const of = (one: Timed | null, communication: Row["communication"]): Row[] =>
      one
        ? [
            {
              architecture,
              config: { layers, hiddenSize, vocabSize, ...ways },
              ...{ ranks, context, batch, dtype, communication },
              medianMs: one.time.median,
            },
          ]
        : [];
    return [...of(main, "overlapped"), ...of(bound, "none")];
  });
}

export function analyse({ cells, phase }: Pick<BenchRecord, "cells" | "phase">): Analysis {
  const results = cells.map((cell) => resultOf(cell, phase));
  const counts = [...new Set(cells.map(({ ranks }) => ranks))];
  const means = counts.map((ranks) =>
    meansOf(
      results.filter(({ cell }) => cell.ranks === ranks),
      ranks,
    ),
  );
  if (counts.length > 1) means.push(meansOf(results));
  return { phase, results, means, rows: phase === "prefill" ? results.flatMap(rowsOf) : [] };
}
