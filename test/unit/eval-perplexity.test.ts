/** Perplexity: which tokens a window scores, what the sums are, and how a run goes on. */
import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { evaluatePerplexity, type Scorer, slidingWindows } from "../../lib/eval/perplexity.js";
import { byteTokenizer } from "../../lib/tokenizer/bytes.js";
import type { Tokenizer } from "../../lib/tokenizer.js";
import { tinyManifest } from "../helpers/fake-executor.js";

const work = mkdtempSync(join(tmpdir(), "kraken-perplexity-"));
after(() => rmSync(work, { recursive: true }));

let files = 0;
function file(content: string | Uint8Array): string {
  const path = join(work, `${files++}.txt`);
  writeFileSync(path, content);
  return path;
}

/** A model to whom token t at position p of a window has −ln p of t/100 + p; remembers the windows it saw. */
function scorer(tokenizer: Tokenizer = byteTokenizer(), fails?: (call: number) => boolean) {
  const seen: number[][] = [];
  const engine: Scorer = {
    config: tinyManifest.config,
    manifest: tinyManifest,
    maxSequenceLength: 64,
    tokenizer,
    async score(tokens) {
      seen.push([...tokens]);
      if (fails?.(seen.length)) throw new Error("killed");
      return { logprobs: Array.from(tokens, (token, p) => (p === 0 ? null : -(token / 100 + p))) };
    },
  };
  return { engine, seen };
}

const isData = (message: RegExp) => (error: Error & { code?: string }) =>
  error.code === "ERR_DATA" && message.test(error.message);

describe("windows", () => {
  test("overlapping: each scores what the one before it did not reach", () => {
    assert.deepEqual(slidingWindows(10, 4, 2), [
      { begin: 0, end: 4, scored: 3 },
      { begin: 2, end: 6, scored: 2 },
      { begin: 4, end: 8, scored: 2 },
      { begin: 6, end: 10, scored: 2 },
    ]);
  });

  test("the last may be shorter, and scores no less than is left", () => {
    assert.deepEqual(slidingWindows(7, 4, 3), [
      { begin: 0, end: 4, scored: 3 },
      { begin: 3, end: 7, scored: 3 },
    ]);
    assert.deepEqual(slidingWindows(5, 4, 2), [
      { begin: 0, end: 4, scored: 3 },
      { begin: 2, end: 5, scored: 1 },
    ]);
  });

  test("side by side: the first token of each has no probability, and a last one alone is left out", () => {
    assert.deepEqual(slidingWindows(9, 4, 4), [
      { begin: 0, end: 4, scored: 3 },
      { begin: 4, end: 8, scored: 3 },
    ]);
  });

  test("a text shorter than the context is one window; a single token is none", () => {
    assert.deepEqual(slidingWindows(3, 64, 32), [{ begin: 0, end: 3, scored: 2 }]);
    assert.deepEqual(slidingWindows(1, 64, 32), []);
  });
});

describe("scores", () => {
  test("one text, by hand", async () => {
    const { engine, seen } = scorer();
    const report = await evaluatePerplexity(engine, [file("abcde")], { context: 4, stride: 2 });
    assert.deepEqual(seen, [
      [97, 98, 99, 100],
      [99, 100, 101],
    ]);
    // b, c and d at positions 1, 2 and 3; then e at position 2.
    const nats = 0.98 + 1 + (0.99 + 2) + (1 + 3) + (1.01 + 2);
    assert.ok(Math.abs(report.natsPerToken - nats / 4) < 1e-12);
    assert.ok(Math.abs(report.perplexity - Math.exp(nats / 4)) < 1e-9);
    assert.ok(Math.abs(report.bitsPerByte - nats / Math.log(2) / 4) < 1e-12); // four of five bytes are scored
    const { tokens, scoredTokens, bytes, context, stride, windows } = report;
    assert.deepEqual([tokens, scoredTokens, bytes, context, stride, windows], [5, 4, 4, 4, 2, 2]);
  });

  test("several texts: a window never reaches into the next; the total weighs tokens, not texts", async () => {
    const { engine, seen } = scorer();
    const report = await evaluatePerplexity(engine, [file("ab"), file("cde")]);
    assert.deepEqual(seen, [
      [97, 98],
      [99, 100, 101],
    ]);
    const [first, second] = report.files;
    assert.equal(first!.natsPerToken, 1.98);
    assert.ok(Math.abs(second!.natsPerToken - (2 + 3.01) / 2) < 1e-12);
    assert.ok(Math.abs(report.natsPerToken - (1.98 + 2 + 3.01) / 3) < 1e-12);
  });

  test("a token that begins the text is no text, and lets every byte be scored", async () => {
    const bytes = byteTokenizer();
    const tokenizer: Tokenizer = {
      ...bytes,
      encode: (text) => [256, ...bytes.encode(text)],
      decode: (ids) => bytes.decode(ids.filter((id) => id < 256)),
    };
    const report = await evaluatePerplexity(scorer(tokenizer).engine, [file("naïve")]);
    assert.deepEqual([report.tokens, report.scoredTokens, report.bytes], [7, 6, 6]);
  });

  test("defaults: the whole context, and half of it as stride", async () => {
    const { context, stride } = await evaluatePerplexity(scorer().engine, [file("ab")]);
    assert.deepEqual([context, stride], [64, 32]);
  });
});

describe("bad input, before anything is scored", () => {
  const { engine, seen } = scorer();
  for (const [name, content, message] of [
    ["an empty file", "", /is empty/],
    ["a single token", "a", /single token/],
    ["bytes that are no UTF-8", Uint8Array.of(97, 0xff, 98), /not UTF-8/],
  ] as const) {
    test(name, async () => {
      await assert.rejects(evaluatePerplexity(engine, [file("fine"), file(content)]), isData(message));
      assert.equal(seen.length, 0);
    });
  }

  test("options out of range, no files, no tokenizer", async () => {
    const good = file("fine");
    for (const options of [{ context: 65 }, { context: 1 }, { stride: 0 }, { context: 8, stride: 9 }]) {
      await assert.rejects(evaluatePerplexity(engine, [good], options), { code: "ERR_OPTION" });
    }
    await assert.rejects(evaluatePerplexity(engine, []), { code: "ERR_OPTION" });
    await assert.rejects(evaluatePerplexity(engine, [join(work, "none")]), { code: "ERR_IO" });
    const mute = { ...engine, tokenizer: undefined };
    await assert.rejects(evaluatePerplexity(mute, [good]), { code: "ERR_NO_TOKENIZER" });
  });
});

describe("the journal", () => {
  const text = file("It is a truth universally acknowledged");
  const options = { context: 8, stride: 4, concurrency: 2 };

  test("a run that died goes on: every window is scored once, and the result is the same", async () => {
    const journal = join(work, "a.journal");
    const whole = scorer();
    const expected = await evaluatePerplexity(whole.engine, [text], options);
    const dying = scorer(undefined, (call) => call > 4);
    await assert.rejects(evaluatePerplexity(dying.engine, [text], { ...options, journal }), /killed/);
    appendFileSync(journal, '["0.7",1'); // killed while it wrote a line
    const second = scorer();
    let earlier = 0;
    const report = await evaluatePerplexity(second.engine, [text], {
      ...options,
      journal,
      onProgress: (progress) => {
        earlier = progress.earlier;
      },
    });
    assert.deepEqual(report, expected);
    assert.equal(second.seen.length, whole.seen.length - 4);
    assert.equal(earlier, 4 * 8);
    assert.ok(readFileSync(journal, "utf8").endsWith("\n"));
  });

  test("is refused when anything else is evaluated, and when it is no journal", async () => {
    const journal = join(work, "b.journal");
    await evaluatePerplexity(scorer().engine, [text], { ...options, journal });
    const again = (other: object, path = text) =>
      evaluatePerplexity(scorer().engine, [path], { ...options, journal, ...other });
    await assert.rejects(again({ stride: 2 }), isData(/another run: its stride is 4, now it is 2/));
    await assert.rejects(again({}, file("other text")), isData(/its texts is/));
    for (const [content, message] of [
      ["no journal\n", /:1: not the journal/],
      ["{}\n", /:1: not a journal that this version writes/],
      [`${readFileSync(journal, "utf8").split("\n")[0]}\n["0.0","1"]\n`, /:2: not an entry/],
    ] as const) {
      writeFileSync(journal, content);
      await assert.rejects(again({}), isData(message));
    }
  });
});
