/**
 * Builds an engine for a checkpoint, asks it for logits in every way an executor can compute them, and compares with
 * float64: ‖Δ‖/‖reference‖ over all positions. Prints how much of the tolerance was used.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CheckpointIndex } from "../../lib/checkpoint/checkpoint-index.js";
import { buildEngine, Engine } from "../../lib/index.js";
import type { DType } from "../../lib/model-config.js";
import { relativeError } from "../helpers/npy.js";

/** The bounds docs/architecture.md promises. */
export const tolerances: Record<DType, number> = {
  float32: 1e-5,
  bfloat16: 2e-2,
  float16: 2e-2,
  int8: 4e-2,
};

export interface Worst {
  used: number;
  where: string;
}

/** Tokens of a sequence, reproducible. */
export function someTokens(count: number, vocabSize: number, seed = 1): number[] {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % vocabSize;
  });
}

export async function inTemporaryDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "kraken-test-"));
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Mode {
  name: string;
  maxStepTokens: number;
  /** Other prompts that run in the same batch. */
  company: number;
}

/** The ways a prompt's logits can come about. */
export const modes: Mode[] = [
  { name: "one go", maxStepTokens: 512, company: 0 },
  { name: "chunks of 7", maxStepTokens: 7, company: 0 },
  { name: "token by token", maxStepTokens: 1, company: 0 },
  { name: "mixed batch", maxStepTokens: 48, company: 3 },
];

/**
 * Checks the logits of `tokens` in every mode, for one rank count and dtype.
 * @param expected float64 logits, [tokens, vocabulary] in row-major order
 */
export async function checkLogits(
  checkpoint: CheckpointIndex,
  options: {
    ranks: number;
    dtype: DType;
    tokens: number[];
    expected: ArrayLike<number>;
    tolerance?: number;
    label: string;
  },
): Promise<Worst> {
  const { ranks, dtype, tokens, expected, label } = options;
  const tolerance = options.tolerance ?? tolerances[dtype];
  const worst: Worst = { used: 0, where: label };
  await inTemporaryDirectory(async (directory) => {
    const output = join(directory, "engine");
    await buildEngine({ checkpoint, output, ranks, dtype });
    for (const mode of modes) {
      const maxBatchSize = mode.company + 1;
      await using engine = await Engine.load(output, {
        maxBatchSize,
        maxStepTokens: mode.maxStepTokens,
        prefillChunk: Math.min(mode.maxStepTokens, 16),
        threadsPerRank: 1,
      });
      const vocabSize = checkpoint.config.vocabSize;
      const company = Array.from({ length: mode.company }, (_, i) =>
        engine.logits(someTokens(5 + 11 * i, vocabSize, 99 + i)),
      );
      const { data } = await engine.logits(tokens);
      await Promise.all(company);
      const error = relativeError(data, expected);
      const where = `${label}, ${ranks} ranks, ${dtype}, ${mode.name}`;
      assert.ok(error <= tolerance, `${where}: relative error ${error} exceeds ${tolerance}`);
      if (error / tolerance > worst.used) Object.assign(worst, { used: error / tolerance, where });
    }
  });
  return worst;
}
