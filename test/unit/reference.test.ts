/** Every fixture opens, and its logits come out of the float64 reference: what the readers say about a file is right. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { openCheckpoint } from "../../lib/checkpoint/open.js";
import { referenceLogits } from "../../lib/reference.js";
import { readNpy, relativeError } from "../helpers/npy.js";
import { tensorReader } from "../helpers/tensors.js";

const fixtures = join(import.meta.dirname, "../fixtures");

describe("a fixture's logits", () => {
  // transformers computes rotary angles in float32.
  for (const [name, tolerance] of [
    ["kraken-2way-d48", 1e-9],
    ["kraken-6way-d38", 1e-9],
    ["hf-gpt2", 1e-9],
    ["hf-gptj", 1e-5],
    ["hf-gpt-neox", 1e-5],
    ["hf-llama-gqa", 1e-5],
  ] as const) {
    test(name, async (t) => {
      const index = await openCheckpoint(join(fixtures, name));
      const { tokens } = JSON.parse(readFileSync(join(fixtures, name, "expected.json"), "utf8"));
      const { shape, data } = readNpy(join(fixtures, name, "logits.npy"));
      assert.deepEqual(shape, [tokens.length, index.config.vocabSize]);
      const error = relativeError(referenceLogits(index.config, tensorReader(index), tokens), data);
      t.diagnostic(
        `relative error ${error.toExponential(2)}, ${((100 * error) / tolerance).toFixed(3)} % of the tolerance`,
      );
      assert.ok(error <= tolerance, `relative error ${error} exceeds ${tolerance}`);
    });
  }
});
