/** Checkpoints written by other people's code, and the logits that code gives for them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../lib/checkpoint/open.js";
import { dtypes } from "../../lib/model-config.js";
import { readNpy } from "../helpers/npy.js";
import { checkLogits } from "./harness.js";

const fixtures = join(dirname(fileURLToPath(import.meta.url)), "..", "fixtures");

const cases = [
  { folder: "kraken-2way-d48", file: "ckpt.pt", ranks: [1, 2] },
  { folder: "kraken-6way-d38", file: "ckpt.pt", ranks: [1, 2, 3, 6] },
  { folder: "hf-gpt2", file: "", ranks: [1, 2, 3, 4] },
  { folder: "hf-gptj", file: "", ranks: [1, 2, 4] },
  { folder: "hf-gpt-neox", file: "", ranks: [1, 2, 3, 4] },
  { folder: "hf-llama-gqa", file: "", ranks: [1, 2, 4, 8] },
];

for (const { folder, file, ranks } of cases) {
  test(`${folder} matches its authors' logits on every rank count`, async (context) => {
    const checkpoint = await openCheckpoint(join(fixtures, folder, file));
    const { tokens } = JSON.parse(readFileSync(join(fixtures, folder, "expected.json"), "utf8"));
    const { shape, data: expected } = readNpy(join(fixtures, folder, "logits.npy"));
    assert.deepEqual(shape, [tokens.length, checkpoint.config.vocabSize]);
    const allowed = ranks.filter(
      (count) => checkpoint.config.heads % count === 0 || "ways" in checkpoint.config,
    );
    assert.ok(allowed.length > 1);
    for (const dtype of dtypes) {
      for (const count of allowed) {
        const worst = await checkLogits(checkpoint, { ranks: count, dtype, tokens, expected, label: folder });
        context.diagnostic(
          `${dtype}, ${count} ranks: ${(100 * worst.used).toFixed(1)} % of the tolerance used`,
        );
      }
    }
  });
}
