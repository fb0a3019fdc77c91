/**
 * Prefix reuse changes no bit: requests that begin alike, at once and with aborts, samples, chunks and preemptions, give
 * the tokens and log-probabilities of an engine that reuses nothing, in every dtype. Where the processor has AMX it is
 * left alone: oneDNN's tiles may sum in another order for another number of rows.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildEngine, Engine, type GenerationResult, type LoadOptions } from "../../lib/index.js";
import type { DType } from "../../lib/model-config.js";
import { randomCheckpoint } from "../helpers/random-checkpoint.js";
import { parityCases } from "./configurations.js";
import { inTemporaryDirectory, someTokens } from "./harness.js";

const hasAmx = () => {
  try {
    return readFileSync("/proc/cpuinfo", "utf8").includes("amx_tile");
  } catch {
    return false;
  }
};
if (hasAmx()) process.env.KRAKEN_CPU_ISA ??= "avx512_bf16";

/** Deterministic numbers below `bound`. */
function random(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

interface Job {
  prompt: number[];
  options: { maxTokens: number; n: number; seed: number; temperature: number };
  score: boolean;
  delayMs: number;
  abortAfterMs: number | undefined;
}

/** Paths through a tree whose branches are 10 to 90 tokens long: none ends with a block of 64. */
function jobs(count: number, vocabSize: number, seed: number, leastOutput: number): Job[] {
  const next = random(seed);
  return Array.from({ length: count }, () => {
    let node = 1;
    const prompt: number[] = [];
    for (let depth = next(4); depth >= 0; depth--) {
      node = 2 * node + next(2);
      prompt.push(...someTokens(10 + ((node * 37) % 81), vocabSize, node));
    }
    const n = next(5) === 0 ? 3 : 1;
    const temperature = n === 1 && next(2) === 0 ? 0 : 0.8;
    return {
      prompt,
      options: { maxTokens: leastOutput + next(60), n, seed: next(1000), temperature },
      score: next(6) === 0,
      delayMs: next(60),
      abortAfterMs: next(6) === 0 ? next(15) : undefined,
    };
  });
}

const samplesOf = (result: GenerationResult) =>
  (result.samples ?? [result]).map(({ tokens, logprobs }) => ({ tokens, logprobs }));

async function run(engine: Engine, { prompt, options, score }: Job, signal?: AbortSignal) {
  if (score) return { logprobs: (await engine.score(prompt, { signal })).logprobs, cachedTokens: 0 };
  const result = await engine.generate(prompt, { ...options, ignoreEos: true, logprobs: 0, signal });
  assert.ok(result.cachedTokens < result.promptTokens);
  return { samples: samplesOf(result), cachedTokens: result.cachedTokens };
}

/** All at once, with delays and aborts. */
const together = (engine: Engine, all: Job[]) =>
  Promise.all(
    all.map(async (job) => {
      await sleep(job.delayMs);
      const abort = new AbortController();
      if (job.abortAfterMs !== undefined) setTimeout(() => abort.abort("enough"), job.abortAfterMs).unref();
      try {
        return await run(engine, job, abort.signal);
      } catch (error) {
        assert.equal(error, "enough");
        return undefined;
      }
    }),
  );

interface Setting {
  model: string;
  ranks: number;
  dtypes: DType[];
  load: LoadOptions;
  preempts?: true;
}

const settings: Setting[] = [
  { model: "kraken 4-way", ranks: 4, dtypes: ["float32", "bfloat16", "int8"], load: {} },
  { model: "gpt", ranks: 2, dtypes: ["float32", "bfloat16", "int8"], load: { maxStepTokens: 40 } },
  {
    model: "kraken 4-way",
    ranks: 2,
    dtypes: ["float32", "bfloat16"],
    // The longest needs all eight blocks.
    load: { kvCacheTokens: 8 * 64, prefillChunk: 24 },
    preempts: true,
  },
  { model: "kraken 4-way", ranks: 2, dtypes: ["bfloat16"], load: { isolation: "process" } },
];

for (const { model, ranks, dtypes, load, preempts } of settings) {
  for (const dtype of dtypes) {
    const title = [
      model,
      `${ranks} ranks`,
      dtype,
      ...Object.entries(load).map(([key, value]) => `${key} ${value}`),
    ];
    test(title.join(", "), async (context) => {
      const config = { ...parityCases.find(({ name }) => name === model)!.config, maxPositions: 512 };
      const all = jobs(48, config.vocabSize, title.join().length, preempts ? 60 : 1);
      await inTemporaryDirectory(async (directory) => {
        const output = join(directory, "engine");
        await buildEngine({ checkpoint: randomCheckpoint(config), output, ranks, dtype });
        const options = { ...load, maxBatchSize: 8, threadsPerRank: 1 };
        await using plain = await Engine.load(output, { ...options, prefixReuse: false });
        await using engine = await Engine.load(output, options);
        const outcomes = await together(engine, all);
        let aborted = 0;
        for (const [i, outcome] of outcomes.entries()) {
          if (outcome === undefined) {
            aborted++;
            continue;
          }
          const { cachedTokens: found, ...values } = outcome;
          const { cachedTokens, ...expected } = await run(plain, all[i]!);
          assert.equal(cachedTokens, 0);
          assert.deepEqual(values, expected, `request ${i}, of whose prompt ${found} tokens were reused`);
        }
        const { prefixHitTokens, prefixQueryTokens, preemptions, kvBlocksUsed } = engine.stats();
        context.diagnostic(
          `${prefixHitTokens} of ${prefixQueryTokens} prompt tokens reused, ${aborted} aborted, ${preemptions} preemptions`,
        );
        assert.ok(prefixHitTokens > prefixQueryTokens / 20);
        assert.ok(aborted < all.length / 2);
        if (preempts) assert.ok(preemptions > 0, "the cache was meant to be too small");
        assert.equal(kvBlocksUsed, 0);
        const { prefixHitTokens: none, kvBlocksCached } = plain.stats();
        assert.deepEqual({ none, kvBlocksCached }, { none: 0, kvBlocksCached: 0 });
      });
    });
  }
}
