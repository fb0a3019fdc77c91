/** kraken score: where the text comes from, and the document that --json promises. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fakeEngine, kraken } from "./cli-harness.js";

const score = { tokens: [5, 17, 3], logprobs: [null, -1, -3], perplexity: Math.exp(2) };

test("--json gives exactly tokens, logprobs and perplexity", async () => {
  const fake = fakeEngine({ score: { ...score, other: 1 } });
  const { code, stdout, stderr } = await kraken(["score", "x", "--tokens", "5,17,3", "--json"], fake);
  assert.equal(code, 0);
  assert.equal(stderr, "");
  assert.deepEqual(JSON.parse(stdout), score);
  assert.deepEqual(fake.prompt, [5, 17, 3]);
  assert.ok(fake.disposed);
});

test("in words", async () => {
  const { stdout } = await kraken(["score", "x", "--text", "some text"], fakeEngine({ score }));
  assert.equal(stdout, "perplexity 7.38906   3 tokens, mean log-probability -2.0000\n");
});

test("a single token has no perplexity", async () => {
  const single = { tokens: [5], logprobs: [null], perplexity: Number.NaN };
  const text = await kraken(["score", "x", "--tokens", "5"], fakeEngine({ score: single }));
  assert.equal(text.code, 0);
  assert.match(text.stdout, /^1 token: .*nothing to score/);
  const json = await kraken(["score", "x", "--tokens", "5", "--json"], fakeEngine({ score: single }));
  assert.deepEqual(JSON.parse(json.stdout), { tokens: [5], logprobs: [null], perplexity: null });
});

test("a file and stdin are scored as they are, to the last newline", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "kraken-cli-"));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, "text.txt");
  await writeFile(file, "naïve\n");
  for (const [args, stdin] of [
    [["--file", file], undefined],
    [["--file", "-"], "naïve\n"],
    [[], "naïve\n"],
  ] as const) {
    const fake = fakeEngine({ score });
    await kraken(["score", "x", ...args], stdin === undefined ? fake : { ...fake, stdin });
    assert.equal(fake.prompt, "naïve\n");
  }
});

test("a file that is not there", async () => {
  const { code, stderr } = await kraken(["score", "x", "--file", "/nonexistent/text"], fakeEngine({ score }));
  assert.equal(code, 1);
  assert.equal(
    stderr,
    "error: cannot read /nonexistent/text: no such file or directory (ENOENT)\ncode: ERR_IO\n",
  );
});
