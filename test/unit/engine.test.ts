import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Engine } from "../../lib/engine.js";
import { fakeEngine } from "../helpers/fake-executor.js";

const rejects = (work: () => unknown, expected: { code: string; message?: RegExp }) =>
  assert.rejects(async () => work(), expected);

describe("prompts", () => {
  test("must have tokens", async () => {
    const { engine } = fakeEngine();
    await rejects(() => engine.generate(""), {
      code: "ERR_EMPTY_PROMPT",
      message: /end-of-text token: \[256\]/,
    });
    await rejects(() => engine.score([]), { code: "ERR_EMPTY_PROMPT" });
    const bos = fakeEngine({ manifest: { bosTokenId: 1 } });
    await rejects(() => bos.engine.generate([]), {
      code: "ERR_EMPTY_PROMPT",
      message: /begin-of-text token: \[1\]/,
    });
  });

  test("name the position of a token out of range", async () => {
    const { engine } = fakeEngine();
    await rejects(() => engine.generate([1, 2, 257]), {
      code: "ERR_TOKEN_RANGE",
      message: /token 257 at position 2 .* 0 to 256/,
    });
    await rejects(() => engine.generate([1, -1]), { code: "ERR_TOKEN_RANGE", message: /position 1/ });
    await rejects(() => engine.generate([1.5]), { code: "ERR_TOKEN_RANGE", message: /token 1\.5/ });
    await rejects(() => engine.generate(5 as never), {
      code: "ERR_OPTION",
      message: /`prompt` must be text/,
    });
  });

  test("as text need a tokenizer, as ids none", async () => {
    const { engine, executor } = fakeEngine({ tokenizer: undefined });
    await rejects(() => engine.generate("hi"), { code: "ERR_NO_TOKENIZER" });
    await rejects(() => engine.generate([1], { stop: "x" }), {
      code: "ERR_NO_TOKENIZER",
      message: /stopTokens/,
    });
    const run = engine.generate(Int32Array.of(1, 2));
    executor.emit({ token: 5, finish: "length" });
    const { text, tokens } = await run;
    assert.deepEqual([text, tokens], ["", [5]]);
  });

  test("must fit the context", async () => {
    const { engine } = fakeEngine();
    const long = new Array(65).fill(1);
    await rejects(() => engine.generate(long), { code: "ERR_CONTEXT_LENGTH", message: /65 tokens/ });
    await rejects(() => engine.score(long), { code: "ERR_CONTEXT_LENGTH", message: /65 tokens.*64/ });
  });
});

describe("score and logits", () => {
  test("score puts chunks together", async () => {
    const { engine, executor } = fakeEngine();
    const score = engine.score([5, 6, 7, 8]);
    assert.equal(executor.requests.get(1)!.kind, "score");
    executor.emit({ values: Float32Array.of(Number.NaN, -1), firstRow: 0 });
    executor.emit({ values: Float32Array.of(-2, -3), firstRow: 2, finish: "length" });
    const { tokens, logprobs, perplexity } = await score;
    assert.deepEqual(tokens, [5, 6, 7, 8]);
    assert.deepEqual(logprobs, [null, -1, -2, -3]);
    assert.ok(Math.abs(perplexity - Math.exp(2)) < 1e-9);
    assert.equal(executor.keepAlive, false);
  });

  test("logits of all rows", async () => {
    const { engine, executor } = fakeEngine();
    const logits = engine.logits([5, 6]);
    executor.emit({ values: new Float32Array(257).fill(1), firstRow: 0 });
    executor.emit({ values: new Float32Array(257).fill(2), firstRow: 1, finish: "length" });
    const { rows, vocabSize, data } = await logits;
    assert.deepEqual([rows, vocabSize, data.length, data[256], data[257]], [2, 257, 514, 1, 2]);
  });

  test("abort", async () => {
    const { engine, executor } = fakeEngine();
    const controller = new AbortController();
    const score = engine.score([1, 2], { signal: controller.signal });
    controller.abort(new Error("late"));
    await assert.rejects(score, /late/);
    assert.deepEqual(executor.cancelled, [1]);
    await assert.rejects(engine.score([1], { signal: AbortSignal.abort(new Error("early")) }), /early/);
  });

  test("an error rejects", async () => {
    const { engine, executor } = fakeEngine();
    const score = engine.score([1, 2]);
    executor.emit({ finish: "error", errorCode: "ERR_OUT_OF_KV_CACHE", errorMessage: "no" });
    await rejects(() => score, { code: "ERR_OUT_OF_KV_CACHE" });
  });
});

describe("measureBound", () => {
  test("asks for products of a prompt, or for one read of the weights", async () => {
    const { engine, executor } = fakeEngine();
    const prefill = engine.measureBound({ phase: "prefill", tokens: 7 });
    executor.emit({ values: Float32Array.of(2.5), firstRow: 0, finish: "length" });
    assert.equal(await prefill, 2.5);
    const decode = engine.measureBound({ phase: "decode" });
    executor.emit({ request: 2, values: Float32Array.of(0.5), firstRow: 0, finish: "length" });
    assert.equal(await decode, 0.5);
    const requests = [...executor.requests.values()];
    assert.deepEqual(
      requests.map(({ kind, prompt }) => [kind, prompt.length]),
      [
        ["products", 7],
        ["weight-read", 1],
      ],
    );
  });

  test("no longer prompts than the engine takes", async () => {
    const { engine } = fakeEngine();
    await rejects(() => engine.measureBound({ phase: "prefill", tokens: 65 }), {
      code: "ERR_OPTION",
      message: /`tokens` must be an integer from 1 to 64, got 65/,
    });
  });
});

describe("dispose", () => {
  test("rejects what runs, refuses what comes, can be repeated", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    const score = engine.score("ab");
    const loop = (async () => {
      for await (const _ of run);
    })();
    const disposing = Promise.all([engine.dispose(), engine.dispose()]);
    await rejects(() => run, { code: "ERR_DISPOSED" });
    await rejects(() => loop, { code: "ERR_DISPOSED" });
    await rejects(() => score, { code: "ERR_DISPOSED" });
    await disposing;
    await engine.dispose();
    assert.equal(executor.shutdowns, 1);
    await rejects(() => engine.generate("a"), { code: "ERR_DISPOSED" });
    await rejects(() => engine.score("ab"), { code: "ERR_DISPOSED" });
    assert.throws(() => engine.stats(), { code: "ERR_DISPOSED" });
    assert.equal(executor.keepAlive, false);
  });

  test("drain waits for what runs", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    const disposing = engine.dispose({ drain: true });
    await rejects(() => engine.generate("b"), { code: "ERR_DISPOSED" });
    assert.equal(executor.shutdowns, 0);
    executor.emit({ text: "ok", finish: "length" });
    await disposing;
    assert.equal((await run).text, "ok");
    assert.equal(executor.shutdowns, 1);
  });

  test("without drain cuts a draining one short", async () => {
    const { engine } = fakeEngine();
    const run = engine.generate("a");
    const draining = engine.dispose({ drain: true });
    await engine.dispose();
    await draining;
    await rejects(() => run, { code: "ERR_DISPOSED" });
  });

  test("Symbol.asyncDispose disposes", async () => {
    const { engine, executor } = fakeEngine();
    await engine[Symbol.asyncDispose]();
    assert.equal(executor.shutdowns, 1);
  });
});

test("stats", () => {
  const { engine } = fakeEngine();
  engine.generate("a");
  const { steps, running, pending } = engine.stats();
  assert.deepEqual([steps, running, pending], [3, 1, 1]);
});

describe("load refuses", () => {
  const bad: [unknown, unknown, string, RegExp][] = [
    ["/nowhere/at/all", {}, "ERR_ENGINE_PATH", /does not exist/],
    ["", {}, "ERR_OPTION", /needs the path/],
    ["/tmp", { maxbatchsize: 1 }, "ERR_OPTION", /did you mean `maxBatchSize`/],
    ["/tmp", { verify: "yes" }, "ERR_OPTION", /`verify` must be true or false/],
    ["/tmp", { communication: "some" }, "ERR_OPTION", /`communication`/],
    ["/tmp", { link: "10Gbit" }, "ERR_OPTION", /`link` must be .*"10Gbit,20us", got '10Gbit'/],
    ["/tmp", { link: "10Gbit,20" }, "ERR_OPTION", /`link` must be a time/],
    ["/tmp", { link: "20us,10Gbit" }, "ERR_OPTION", /`link` must be bytes or bits per second/],
  ];
  for (const [directory, options, code, message] of bad) {
    test(`${JSON.stringify(directory)} ${JSON.stringify(options)}`, () =>
      assert.rejects(Engine.load(directory as string, options as object), { code, message }));
  }
});
