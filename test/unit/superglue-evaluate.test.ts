/** SuperGLUE over a model made by hand: which tokens count, what is cut, and how a run goes on. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { Scorer } from "../../lib/eval/perplexity.js";
import { evaluateSuperglue, type SuperglueOptions } from "../../lib/eval/superglue/evaluate.js";
import { choiceTokens } from "../../lib/eval/superglue/prompt.js";
import { byteTokenizer } from "../../lib/tokenizer/bytes.js";
import { tinyManifest } from "../helpers/fake-executor.js";

const directory = join(import.meta.dirname, "../fixtures/superglue");
const work = mkdtempSync(join(tmpdir(), "kraken-superglue-"));
after(() => rmSync(work, { recursive: true }));

const tokenizer = byteTokenizer();

/** A model to whom every byte has the probability 1/e: of two choices it takes the one of fewer bytes. */
function scorer({ maxTokens = 4096, fails = undefined as ((call: number) => boolean) | undefined } = {}) {
  const seen: string[] = [];
  const state = { atOnce: 0, most: 0 };
  const engine: Scorer = {
    config: tinyManifest.config,
    manifest: tinyManifest,
    maxSequenceLength: maxTokens,
    tokenizer,
    async score(tokens) {
      assert.ok(tokens.length <= maxTokens);
      seen.push(tokenizer.decode([...tokens]));
      state.most = Math.max(state.most, ++state.atOnce);
      await new Promise(setImmediate);
      state.atOnce--;
      if (fails?.(seen.length)) throw new Error("killed");
      return { logprobs: Array.from(tokens, (_, i) => (i === 0 ? null : -1)) };
    },
  };
  return { engine, seen, state };
}

describe("the tokens of a choice", () => {
  test("white space at the prompt's end is the choice's", () => {
    const [one] = choiceTokens(tokenizer, "ab \n", ["cd"], 100);
    assert.deepEqual(one, { tokens: Int32Array.from(Buffer.from("ab \n cd")), scored: 5, cut: false });
  });

  test("are those beyond as many as the prompt alone has, also where the tokenizer joins both", () => {
    const joining = { ...tokenizer, encode: (text: string) => tokenizer.encode(text.replaceAll("b c", "*")) };
    const [one] = choiceTokens(joining, "ab", ["cd"], 100);
    assert.equal(tokenizer.decode([...one!.tokens]), "a*d");
    assert.equal(one!.scored, 1);
  });

  test("too long: the beginning goes, never a token of the choice", () => {
    const [short, long] = choiceTokens(tokenizer, "abcdef", ["g", "gh"], 8);
    assert.deepEqual([tokenizer.decode([...short!.tokens]), short!.cut], ["abcdef g", false]);
    assert.deepEqual([tokenizer.decode([...long!.tokens]), long!.cut], ["bcdef gh", true]);
    assert.throws(() => choiceTokens(tokenizer, "ab", ["1234567"], 8), { code: "ERR_CONTEXT_LENGTH" });
    assert.equal(choiceTokens(tokenizer, "ab", ["123456"], 8)[0]!.scored, 7);
  });
});

describe("all eight tasks", () => {
  test("the shortest choice is picked, so the metrics are known", async () => {
    const { engine, state } = scorer();
    const { tasks, shots, seed } = await evaluateSuperglue(engine, directory, { concurrency: 5 });
    assert.deepEqual([shots, seed], [0, null]);
    const values = tasks.map(({ task, metrics }) => [
      task,
      Object.fromEntries(
        Object.entries(metrics).map(([name, { value }]) => [name, Number(value.toFixed(6))]),
      ),
    ]);
    assert.deepEqual(Object.fromEntries(values), {
      boolq: { acc: 0.666667 }, // "no" to yes, no, no
      cb: { acc: 0.5, f1: 0.222222 }, // "True" to all four
      copa: { acc: 0 }, // both right ones are longer
      multirc: { acc: 0.428571, f1: 0, em: 0 }, // "no" to all seven
      record: { f1: 0.166667, em: 0 }, // "Old Tarn" twice, "Leith"
      rte: { acc: 0.666667 }, // "True" to all three
      wic: { acc: 0.5 },
      wsc: { acc: 0.666667 },
    });
    assert.equal(state.most, 5);
  });

  test("one score for each choice, of the whole prompt", async () => {
    const { engine, seen } = scorer();
    await evaluateSuperglue(engine, directory, { tasks: ["wic"], limit: 1, shots: 1, seed: 5 });
    assert.equal(seen.length, 2);
    for (const text of seen) assert.equal(text.match(/Sentence 1: /g)?.length, 2);
    assert.ok(seen[0]!.endsWith("\nAnswer: no"));
    assert.ok(seen[1]!.endsWith("\nAnswer: yes"));
  });

  test("prompts that were cut are counted", async () => {
    const { tasks } = await evaluateSuperglue(scorer({ maxTokens: 100 }).engine, directory, {
      tasks: ["copa", "boolq"],
    });
    assert.deepEqual(
      tasks.map(({ task, examples, cut }) => [task, examples, cut]),
      [
        ["copa", 2, 0],
        ["boolq", 3, 3],
      ],
    );
  });

  test("options", async () => {
    const refuse = (options: SuperglueOptions, message: RegExp) =>
      assert.rejects(evaluateSuperglue(scorer().engine, directory, options), { code: "ERR_OPTION", message });
    await refuse({ tasks: ["bolq"] }, /no task "bolq"; did you mean boolq\?/);
    await refuse({ tasks: [] }, /at least one/);
    await refuse({ shots: -1 }, /`shots`/);
    await refuse({ limit: 0 }, /`limit`/);
    await assert.rejects(evaluateSuperglue({ ...scorer().engine, tokenizer: undefined }, directory), {
      code: "ERR_NO_TOKENIZER",
    });
  });
});

describe("the journal", () => {
  test("a run that died goes on, and comes to the same", async () => {
    const journal = join(work, "a.journal");
    const options = { tasks: ["boolq", "record"], shots: 1, concurrency: 2 };
    const whole = scorer();
    const expected = await evaluateSuperglue(whole.engine, directory, options);
    const dying = scorer({ fails: (call) => call === 11 });
    await assert.rejects(evaluateSuperglue(dying.engine, directory, { ...options, journal }), /killed/);
    const second = scorer();
    const shares: number[] = [];
    const report = await evaluateSuperglue(second.engine, directory, {
      ...options,
      journal,
      onProgress: ({ done, total, earlier }) => shares.push((done - earlier) / (total - earlier)),
    });
    assert.deepEqual(report, expected);
    assert.ok(second.seen.length < whole.seen.length && second.seen.length > 0);
    assert.deepEqual([shares[0], shares.at(-1)], [0, 1]);
    assert.deepEqual(
      shares,
      [...shares].sort((a, b) => a - b),
    );
    const third = scorer();
    assert.deepEqual(await evaluateSuperglue(third.engine, directory, { ...options, journal }), expected);
    assert.equal(third.seen.length, 0);
    for (const [change, message] of [
      [{ shots: 2 }, /its shots is 1, now it is 2/],
      [{ tasks: ["boolq"] }, /its tasks is 'boolq record'/],
      [{ seed: 3 }, /its seed/],
    ] as const) {
      await assert.rejects(evaluateSuperglue(third.engine, directory, { ...options, journal, ...change }), {
        code: "ERR_DATA",
        message,
      });
    }
  });
});
