/** Records of benchmarks with samples that were thought up. */
import type { BenchRecord, CellRecord, PhaseRecord, VariantRecord } from "../../lib/bench/document.js";
import { resolveBench } from "../../lib/bench/options.js";
import type { ModelConfig } from "../../lib/model-config.js";
import { preset } from "../../lib/presets.js";

const presets: Record<string, string> = {
  standard: "gpt-tiny",
  parallel: "parallel-tiny",
  ladder: "ladder-tiny",
  Kraken: "kraken-tiny-2way",
};

export const configOf = (label: string): ModelConfig => preset(presets[label]!).config;

export function phaseRecord(samplesMs: number[], others: Partial<PhaseRecord> = {}): PhaseRecord {
  const same = (value: number) => samplesMs.map(() => value);
  return {
    coldMs: 99,
    warmupMs: [50, 40],
    samplesMs,
    engineMs: samplesMs.map((ms) => ms - 1),
    exposedMs: same(0),
    collectiveMs: same(0),
    exchanges: 3,
    perOpMs: { attention: 2, "attn.qkv": 3, wait: 1 },
    ...others,
  };
}

/** A variant of the tiny models, on two ranks unless it is the one-rank one. */
export function variant(
  label: string,
  role: VariantRecord["role"],
  prefill: PhaseRecord | undefined,
  others: Partial<VariantRecord> = {},
): VariantRecord {
  const config = configOf(label);
  return {
    label,
    model: presets[label]!,
    architecture: config.architecture,
    config,
    parameters: 1000,
    role,
    ranks: role === "one-rank" ? 1 : 2,
    threadsPerRank: role === "one-rank" ? 2 : 1,
    ...(prefill && { prefill }),
    ...others,
  };
}

export function cellRecord(variants: VariantRecord[], others: Partial<CellRecord> = {}): CellRecord {
  return {
    comparison: "paper:tiny",
    ranks: 2,
    dtype: "bfloat16",
    backend: "cpu",
    link: "none",
    batch: 1,
    context: 128,
    baseline: "standard",
    rounds: variants[0]?.prefill?.samplesMs.length ?? 0,
    seconds: 1,
    stopped: "interval",
    widestInterval: 0.01,
    variants,
    ...others,
  };
}

export function benchRecord(cells: CellRecord[], others: Partial<BenchRecord> = {}): BenchRecord {
  return {
    format: "kraken-bench",
    formatVersion: 1,
    startedAt: "2030-01-02T03:04:05.000Z",
    phase: "prefill",
    complete: true,
    settings: resolveBench("prefill", { threads: 2 }),
    environment: { version: "1.2.3", commit: "0123456789abcdef", cpu: { model: "Test CPU", usable: 2 } },
    cells,
    ...others,
  };
}
