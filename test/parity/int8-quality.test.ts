/**
 * What int8 costs the bundled model: the perplexity of more than a thousand tokens that its bfloat16 engine drew. (An
 * engine scores its own samples best, so the comparison favours bfloat16.)
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { buildEngine, Engine } from "../../lib/index.js";
import { inTemporaryDirectory } from "./harness.js";

const models = join(import.meta.dirname, "..", "..", "models");
const model = join(models, readdirSync(models)[0]!);
const allowed = 0.01;

test("the bundled model's perplexity in int8 is that of bfloat16 within 1 %", async (context) => {
  await inTemporaryDirectory(async (directory) => {
    const load = async (dtype: "bfloat16" | "int8") => {
      const output = join(directory, dtype);
      await buildEngine({ checkpoint: model, output, ranks: 2, dtype });
      return Engine.load(output, { maxBatchSize: 8, threadsPerRank: 1 });
    };
    await using bfloat16 = await load("bfloat16");
    await using int8 = await load("int8");
    const { tokens: prompt } = await bfloat16.score("It is a truth");
    const texts = await Promise.all(
      Array.from({ length: 8 }, async (_, seed) => {
        const { tokens } = await bfloat16.generate(prompt, { maxTokens: 200, seed, ignoreEos: true });
        return [...prompt, ...tokens];
      }),
    );
    const perplexity = async (engine: Engine) => {
      const scores = await Promise.all(texts.map((tokens) => engine.score(tokens)));
      const logprobs = scores.flatMap(({ logprobs }) => logprobs.slice(1) as number[]);
      assert.ok(logprobs.length > 1000);
      return Math.exp(-logprobs.reduce((sum, logprob) => sum + logprob, 0) / logprobs.length);
    };
    const [before, after] = [await perplexity(bfloat16), await perplexity(int8)];
    const change = after / before - 1;
    context.diagnostic(
      `perplexity ${before.toFixed(3)} in bfloat16, ${after.toFixed(3)} in int8: ${(100 * change).toFixed(2)} %, allowed 1 %`,
    );
    assert.ok(Math.abs(change) <= allowed);
    assert.notEqual(after, before);
  });
});
