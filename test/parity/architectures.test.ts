/** Every architecture, rank count and dtype against the float64 reference, in every way an executor computes logits. */
import { test } from "node:test";
import { dtypes } from "../../lib/model-config.js";
import { referenceLogits } from "../../lib/reference.js";
import { randomCheckpoint } from "../helpers/random-checkpoint.js";
import { tensorReader } from "../helpers/tensors.js";
import { parityCases } from "./configurations.js";
import { checkLogits, someTokens, type Worst } from "./harness.js";

for (const { name, config, ranks } of parityCases) {
  test(`${name} on ${ranks.join(", ")} ranks`, async (context) => {
    const checkpoint = randomCheckpoint(config);
    const tokens = someTokens(67, config.vocabSize);
    const expected = referenceLogits(config, tensorReader(checkpoint), tokens);
    for (const dtype of dtypes) {
      if (dtype === "float16") continue; // float32's arithmetic: float16.test.ts has a part of this grid
      let worst: Worst = { used: 0, where: "" };
      for (const count of ranks) {
        const found = await checkLogits(checkpoint, { ranks: count, dtype, tokens, expected, label: name });
        if (found.used > worst.used) worst = found;
      }
      context.diagnostic(`${(100 * worst.used).toFixed(1)} % of the tolerance used at most (${worst.where})`);
    }
  });
}
