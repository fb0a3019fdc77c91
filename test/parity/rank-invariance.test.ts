/** A Kraken's logits are the same bits on every rank count: its sum is added in the order of the ways everywhere. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { buildEngine, Engine } from "../../lib/index.js";
import { dtypes } from "../../lib/model-config.js";
import { randomCheckpoint } from "../helpers/random-checkpoint.js";
import { parityCases } from "./configurations.js";
import { inTemporaryDirectory, someTokens } from "./harness.js";

const { config, ranks } = parityCases.find(({ name }) => name === "kraken 6-way")!;

for (const dtype of dtypes) {
  test(`kraken 6-way gives the same bits on ${ranks.join(", ")} ranks, ${dtype}`, async () => {
    const tokens = someTokens(67, config.vocabSize);
    await inTemporaryDirectory(async (directory) => {
      const logits: Float32Array[] = [];
      for (const count of ranks) {
        const output = join(directory, `${count}`);
        await buildEngine({ checkpoint: randomCheckpoint(config), output, ranks: count, dtype });
        await using engine = await Engine.load(output, { maxBatchSize: 1, threadsPerRank: 1 });
        logits.push((await engine.logits(tokens)).data);
      }
      for (const other of logits.slice(1)) assert.deepEqual(other, logits[0]);
    });
  });
}
