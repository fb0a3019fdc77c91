/**
 * Sixty-four requests at once on four ranks (more ranks than cores on most test machines), with random lengths,
 * arrivals and aborts and a key/value cache too small for all of them: every one finishes or is rejected, and greedy
 * results equal the ones run alone. In float32 exactly; in bfloat16 they may part only where the two best logits were
 * nearly tied.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildEngine, Engine, type KrakenError } from "../../lib/index.js";
import type { DType } from "../../lib/model-config.js";
import { randomCheckpoint } from "../helpers/random-checkpoint.js";
import { parityCases } from "./configurations.js";
import { inTemporaryDirectory, someTokens } from "./harness.js";

const config = { ...parityCases.find(({ name }) => name === "kraken 4-way")!.config, maxPositions: 256 };
const requests = 64;

/** Deterministic numbers in [0, 1). */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const greedy = { temperature: 0, ignoreEos: true } as const;

for (const dtype of ["float32", "bfloat16"] satisfies DType[]) {
  test(`${requests} concurrent requests on 4 ranks, ${dtype}`, async (context) => {
    const next = random(dtype.length);
    const jobs = Array.from({ length: requests }, (_, i) => ({
      prompt: someTokens(1 + Math.floor(next() * 60), config.vocabSize, i + 1),
      maxTokens: 1 + Math.floor(next() < 0.25 ? next() * 20 : 120 + next() * 70),
      delayMs: next() * 20,
      abortAfterMs: next() < 0.25 ? next() * 200 : undefined,
    }));
    await inTemporaryDirectory(async (directory) => {
      const output = join(directory, "engine");
      await buildEngine({ checkpoint: randomCheckpoint(config), output, ranks: 4, dtype });
      await using engine = await Engine.load(output, {
        maxBatchSize: 16,
        // Ten blocks admit five sequences, most of which grow to three or four blocks: some must be preempted.
        kvCacheTokens: 10 * 64,
        maxQueue: requests,
        prefillChunk: 24,
        threadsPerRank: 1,
      });

      const outcomes = await Promise.all(
        jobs.map(async ({ prompt, maxTokens, delayMs, abortAfterMs }) => {
          await sleep(delayMs);
          const abort = new AbortController();
          if (abortAfterMs !== undefined) setTimeout(() => abort.abort("enough"), abortAfterMs).unref();
          try {
            return await engine.generate(prompt, { ...greedy, maxTokens, signal: abort.signal });
          } catch (error) {
            assert.equal(error, "enough");
            return "aborted" as const;
          }
        }),
      );

      const { preemptions } = engine.stats();
      assert.ok(preemptions > 0, "the cache was meant to be too small");
      let compared = 0;
      let parted = 0;
      for (const [i, outcome] of outcomes.entries()) {
        if (outcome === "aborted") {
          assert.notEqual(jobs[i]!.abortAfterMs, undefined);
          continue;
        }
        const { prompt, maxTokens } = jobs[i]!;
        const alone = await engine.generate(prompt, { ...greedy, maxTokens });
        assert.equal(outcome.tokens.length, maxTokens);
        compared++;
        const at = outcome.tokens.findIndex((token, position) => token !== alone.tokens[position]);
        if (at < 0) continue;
        assert.notEqual(dtype, "float32", `request ${i} differs from its own run alone at token ${at}`);
        parted++;
        const { data } = await engine.logits([...prompt, ...alone.tokens.slice(0, at)]);
        const last = data.subarray(data.length - config.vocabSize);
        const [best, second] = Float32Array.from(last).sort().reverse();
        const gap = (best! - second!) / Math.hypot(...last);
        context.diagnostic(
          `request ${i} parts at token ${at}, where the gap is ${gap.toExponential(1)} of the logits`,
        );
        assert.ok(gap < 2e-2, `request ${i} parts at token ${at} though the best logits were not tied`);
      }
      assert.ok(compared > requests / 2);
      context.diagnostic(
        `${compared} compared, ${requests - compared} aborted, ${parted} parted, ${preemptions} preemptions`,
      );
      const { running, waiting, kvBlocksUsed } = engine.stats();
      assert.deepEqual({ running, waiting, kvBlocksUsed }, { running: 0, waiting: 0, kvBlocksUsed: 0 });
    });
  });
}

test("a request that can never fit the cache, or outgrows it alone, is refused with a code", async () => {
  await inTemporaryDirectory(async (directory) => {
    const output = join(directory, "engine");
    await buildEngine({ checkpoint: randomCheckpoint(config), output, ranks: 2, dtype: "float32" });
    await using engine = await Engine.load(output, { maxBatchSize: 2, kvCacheTokens: 64, threadsPerRank: 1 });
    const code = (expected: string) => (error: unknown) => (error as KrakenError).code === expected;
    await assert.rejects(
      async () => engine.generate(someTokens(70, config.vocabSize), { maxTokens: 1 }),
      code("ERR_OUT_OF_KV_CACHE"),
    );
    const grown = engine.generate(someTokens(60, config.vocabSize), { ...greedy, maxTokens: 20 });
    await assert.rejects(async () => await grown, code("ERR_OUT_OF_KV_CACHE"));
    // The engine goes on.
    const { tokens } = await engine.generate(someTokens(5, config.vocabSize), { ...greedy, maxTokens: 3 });
    assert.equal(tokens.length, 3);
  });
});
