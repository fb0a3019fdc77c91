/** kraken eval's perplexity of the bundled model, against the method's definition over float64 logits. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { openCheckpoint } from "../../lib/checkpoint/open.js";
import { evaluatePerplexity } from "../../lib/eval/perplexity.js";
import { buildEngine, Engine } from "../../lib/index.js";
import { referenceLogits } from "../../lib/reference.js";
import { loadTokenizer } from "../../lib/tokenizer.js";
import { tensorReader } from "../helpers/tensors.js";

const model = join(import.meta.dirname, "../../models/kraken-austen-2way");
const work = mkdtempSync(join(tmpdir(), "kraken-perplexity-"));
after(() => rmSync(work, { recursive: true }));

const file = join(work, "text.txt");
const text =
  "The morning was so fine that Mrs. Bennet resolved upon walking to the village; and her daughters, who had nothing " +
  "to read and less to sew, were very willing to be of the party. “We shall meet nobody,” said Mary, “and therefore " +
  "be the wiser for it.”\nAnd it came to pass in those days, that a whale was seen from the hill, and the people ran " +
  "together unto the shore, saying, Behold, the ship goeth down. But Mr. Holmes only smiled, and lit his pipe.\n";
const context = 48;
const stride = 32;

/** Nats per token as the documentation computes them: a token is counted in the first window that predicts it. */
async function reference(): Promise<number> {
  const index = await openCheckpoint(model);
  const { vocabSize } = index.config;
  const read = tensorReader(index);
  const tokens = (await loadTokenizer(model)).encode(text);
  let nats = 0;
  let counted = 0;
  let previousEnd = 0;
  for (let begin = 0; previousEnd < tokens.length; begin += stride) {
    const end = Math.min(begin + context, tokens.length);
    const logits = referenceLogits(index.config, read, tokens.slice(begin, end));
    for (let target = Math.max(previousEnd, begin + 1); target < end; target++) {
      const at = (target - 1 - begin) * vocabSize;
      const row = logits.subarray(at, at + vocabSize);
      const highest = row.reduce((a, b) => Math.max(a, b));
      const sum = row.reduce((total, value) => total + Math.exp(value - highest), 0);
      nats += Math.log(sum) + highest - row[tokens[target]!]!;
      counted++;
    }
    previousEnd = end;
  }
  assert.equal(counted, tokens.length - 1);
  return nats / counted;
}

describe("perplexity of the bundled model", () => {
  let expected: number;
  before(async () => {
    writeFileSync(file, text);
    expected = Math.exp(await reference());
  });

  for (const [dtype, ranks, tolerance] of [
    ["float32", 1, 1e-5],
    ["bfloat16", 2, 5e-3],
  ] as const) {
    test(`${dtype} on ${ranks}`, async (t) => {
      const output = join(work, dtype);
      await buildEngine({ checkpoint: model, output, dtype, ranks });
      await using engine = await Engine.load(output);
      const { perplexity, windows } = await evaluatePerplexity(engine, [file], { context, stride });
      assert.ok(windows >= 4);
      const error = Math.abs(perplexity / expected - 1);
      t.diagnostic(
        `${perplexity.toFixed(4)}, reference ${expected.toFixed(4)}: off by ${error.toExponential(1)}`,
      );
      assert.ok(error <= tolerance, `relative error ${error} exceeds ${tolerance}`);
    });
  }
});
