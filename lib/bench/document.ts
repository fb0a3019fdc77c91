/** What a benchmark measured: what is written to a file, and read again by `compare` and `resume`. */
import type { Architecture, DType, ModelConfig } from "../model-config.js";
import type { Check } from "./check.js";
import type { Role } from "./grid.js";
import type { Phase, Settings } from "./options.js";

/** Of one variant in one cell. Lists have one number for each round, in the order they were taken. */
export interface PhaseRecord {
  /** The very first: memory untouched, sizes never seen. */
  coldMs: number;
  /** Rounds after it that don't count. */
  warmupMs: number[];
  samplesMs: number[];
  engineMs: number[];
  /** Waited for collectives; the mean of the ranks. */
  exposedMs: number[];
  /** Collectives from start to arrival, hidden or not. */
  collectiveMs: number[];
  /** Collectives of one prefill or step. */
  exchanges: number;
  /** Medians, the longest first. */
  perOpMs: Record<string, number>;
}

export interface VariantRecord {
  label: string;
  model: string;
  architecture: Architecture;
  config: ModelConfig;
  parameters: number;
  role: Role;
  ranks: number;
  threadsPerRank: number;
  /** Absent for a bound, whose numbers are wrong by construction. */
  check?: Check;
  /** Why there are no times. */
  failure?: string;
  prefill?: PhaseRecord;
  decode?: PhaseRecord;
}

/** Why a cell ended: its intervals are narrow, its rounds or its time are used up, or it was stopped. */
export type Stop = "interval" | "repeats" | "time" | "interrupted" | "failed";

/** What took turns. */
export interface CellRecord {
  comparison: string;
  ranks: number;
  dtype: DType;
  backend: string;
  /** An emulated link, or the hosts. */
  link: string;
  batch: number;
  context: number;
  /** Label of the variant that speed-ups are over. */
  baseline: string;
  rounds: number;
  seconds: number;
  stopped: Stop;
  /** Of the 95 % intervals, relative to their middle; null before two rounds. */
  widestInterval: number | null;
  variants: VariantRecord[];
}

/** Where it was measured: the diagnosis of `kraken doctor`, and more. */
export interface Environment {
  version: string;
  /** Of a clone; null in an installed package. */
  commit: string | null;
  cpu: { model: string; usable: number };
  [fact: string]: unknown;
}

export const formatName = "kraken-bench";
/** Raised when an older version would misread what is written, or this one what older ones wrote. */
export const formatVersion = 1;

export interface BenchRecord {
  format: typeof formatName;
  formatVersion: number;
  /** ISO 8601. */
  startedAt: string;
  /** What every cell is about. */
  phase: Phase;
  /** false while cells are missing. */
  complete: boolean;
  settings: Settings;
  environment: Environment;
  cells: CellRecord[];
}

export type CellIdentity = Pick<
  CellRecord,
  "comparison" | "ranks" | "dtype" | "backend" | "link" | "batch" | "context"
>;

/** What a cell is, in words: the same for the same cell of another run. */
export function cellKey(cell: CellIdentity): string {
  const { comparison, ranks, dtype, backend, link, batch, context } = cell;
  const by = backend === "cpu" ? "" : `, ${backend}`;
  const on = `${ranks} rank${ranks === 1 ? "" : "s"}`;
  const over = link === "none" ? "" : `, link ${link}`;
  return `${comparison}, ${dtype}, ${on}${by}${over}, context ${context}, batch ${batch}`;
}
