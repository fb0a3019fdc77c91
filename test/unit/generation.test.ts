import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { GenerationEvent } from "../../lib/sample-stream.js";
import { fakeEngine } from "../helpers/fake-executor.js";

async function take(events: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const all: GenerationEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

const turn = () => new Promise(setImmediate);

describe("a generation", () => {
  test("streams tokens as they come", async () => {
    const { engine, executor } = fakeEngine();
    const iterator = engine.generate("ab")[Symbol.asyncIterator]();
    assert.deepEqual([...executor.requests.get(1)!.prompt], [97, 98]);
    const first = iterator.next();
    executor.emit({ token: 120 });
    assert.deepEqual(await first, { done: false, value: { text: "x", token: 120, sample: 0 } });
    executor.emit({ token: 121, finish: "length" });
    assert.deepEqual((await iterator.next()).value, { text: "y", token: 121, sample: 0 });
    assert.deepEqual(await iterator.next(), { done: true, value: undefined });
  });

  test("gives the whole when awaited", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate([1, 2, 3], { seed: 7, logprobs: 1 });
    executor.emit({
      token: 104,
      alternatives: [{ token: 104, logprob: -0.5 }],
      queueMs: 1,
      firstTokenMs: 3,
      cachedTokens: 2,
    });
    await turn();
    executor.emit({ token: 105, finish: "length", queueMs: 1, totalMs: 4, preemptions: 1, cachedTokens: 2 });
    const result = await run;
    assert.equal(result.text, "hi");
    assert.deepEqual(result.tokens, [104, 105]);
    assert.deepEqual(result.logprobs, [-0.5, -0.5]);
    assert.deepEqual(result.alternatives, [[{ token: 104, logprob: -0.5 }], []]);
    assert.equal(result.finishReason, "length");
    assert.equal(result.promptTokens, 3);
    assert.equal(result.cachedTokens, 2);
    assert.equal(result.seed, 7);
    assert.equal(result.samples, undefined);
    const { timing } = result;
    assert.ok(timing.ttftMs >= 0 && timing.ttftMs <= timing.totalMs);
    assert.ok(timing.decodeMsPerToken > 0);
    assert.equal(timing.engineTtftMs, 3);
    assert.equal(timing.queueMs, 1);
    assert.equal(timing.preemptions, 1);
  });

  test("can be iterated and awaited, in either order", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    executor.emit({ text: "hello", finish: "length" });
    assert.equal((await run).text, "hello");
    assert.equal((await take(run)).map((e) => e.text).join(""), "hello");
    assert.equal((await run).text, "hello");
    assert.throws(() => run[Symbol.asyncIterator](), { code: "ERR_OPTION", message: /iterated once/ });
  });

  test("never splits a character", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    executor.emit({ text: "é𝄞!", finish: "length" });
    const events = await take(run);
    assert.deepEqual(
      events.map((e) => e.text),
      ["", "é", "", "", "", "𝄞", "!"],
    );
  });

  test("an unfinished character at the end is flushed with the last token", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    executor.emit({ token: 0xf0 }, { token: 0x9d, finish: "length" });
    assert.equal((await run).text, "\ufffd");
    assert.deepEqual(
      (await take(run)).map((e) => e.text),
      ["", "\ufffd"],
    );
  });

  test("a stop token ends it and is not part of it", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    assert.deepEqual(executor.requests.get(1)!.sampling!.stopTokens, [256]);
    executor.emit({ token: 104 }, { token: 256, finish: "stop" });
    const result = await run;
    assert.deepEqual(
      [result.text, result.tokens, result.finishReason, result.stopReason],
      ["h", [104], "stop", 256],
    );
    assert.equal((await take(run)).length, 1);
  });

  test("keeps the process alive until its last event", () => {
    const { engine, executor } = fakeEngine();
    assert.equal(executor.keepAlive, false);
    engine.generate("a");
    assert.equal(executor.keepAlive, true);
    executor.emit({ token: 1 });
    assert.equal(executor.keepAlive, true);
    executor.emit({ finish: "length" });
    assert.equal(executor.keepAlive, false);
  });
});

describe("stop strings", () => {
  test("end it over several tokens, are removed, and cancel the rest", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a", { stop: ["END"] });
    executor.emit({ text: "so E" }, { text: "ND and more" });
    assert.deepEqual(executor.cancelled, [1]);
    const result = await run;
    assert.equal(result.text, "so ");
    assert.equal(result.finishReason, "stop");
    assert.equal(result.stopReason, "END");
    assert.equal(result.tokens.length, 6); // with the token that completed it
    assert.equal((await take(run)).map((e) => e.text).join(""), "so ");
    executor.emit({ finish: "cancelled" });
    assert.equal(executor.table.size, 0);
  });

  test("inside one token", async () => {
    const vocabulary = ["one ", "two|three", "|"];
    const { engine, executor } = fakeEngine({
      tokenizer: {
        vocabSize: 3,
        encode: () => [0],
        decode: (ids) => ids.map((i) => vocabulary[i]).join(""),
        stream: () => ({ push: (id) => vocabulary[id]!, flush: () => "" }),
        tokenText: (id) => vocabulary[id]!,
        tokenBytes: (id) => Buffer.from(vocabulary[id]!),
      },
    });
    const run = engine.generate("x", { stop: "|" });
    executor.emit({ token: 0 }, { token: 1 });
    const { text, tokens } = await run;
    assert.deepEqual([text, tokens], ["one two", [0, 1]]);
  });

  test("what was held back comes out when it is no stop string after all", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a", { stop: "END" });
    executor.emit({ text: "EN", finish: "length" });
    assert.deepEqual(
      (await take(run)).map((e) => e.text),
      ["", "EN"],
    );
    const second = engine.generate("a", { stop: "END" });
    executor.emit({ text: "EN" }, { token: 256, finish: "stop" });
    assert.deepEqual(
      (await take(second)).map((e) => [e.text, e.token]),
      [
        ["", 69],
        ["", 78],
        ["EN", -1],
      ],
    );
    assert.equal((await second).stopReason, 256);
  });

  test("do not end it before minTokens", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a", { stop: ".", minTokens: 3 });
    executor.emit({ text: "..ab.c" });
    assert.equal((await run).text, "..ab");
  });
});

describe("several samples", () => {
  test("come with their index; a stop string ends only its own", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a", { n: 2, stop: "!" });
    executor.emit({ text: "x", sample: 0 }, { text: "y!", sample: 1 }, { text: "z", sample: 1 });
    assert.deepEqual(executor.cancelled, []);
    executor.emit({ text: "w", sample: 0, finish: "length" });
    assert.deepEqual(executor.cancelled, [1]);
    const { samples, text } = await run;
    assert.equal(text, "xw");
    assert.deepEqual(
      samples?.map((s) => [s.text, s.finishReason, s.stopReason]),
      [
        ["xw", "length", undefined],
        ["y", "stop", "!"],
      ],
    );
    assert.deepEqual(
      (await take(run)).map((e) => e.sample),
      [0, 1, 1, 0],
    );
    executor.emit({ sample: 1, finish: "cancelled" });
    assert.equal(executor.table.size, 0);
  });
});

describe("cancelling", () => {
  test("leaving the loop cancels quietly", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    executor.emit({ text: "abc" });
    for await (const { text } of run) {
      assert.equal(text, "a");
      break;
    }
    assert.deepEqual(executor.cancelled, [1]);
    const { finishReason, text } = await run;
    assert.deepEqual([finishReason, text], ["cancelled", "abc"]);
    executor.emit({ finish: "cancelled" });
    assert.equal(executor.keepAlive, false);
  });

  test("return() ends a next() that waits", async () => {
    const { engine } = fakeEngine();
    const iterator = engine.generate("a")[Symbol.asyncIterator]();
    const waiting = iterator.next();
    await iterator.return!();
    assert.equal((await waiting).done, true);
  });

  test("abort rejects with the signal's reason, loop and await alike", async () => {
    const { engine, executor } = fakeEngine();
    const controller = new AbortController();
    const run = engine.generate("a", { signal: controller.signal });
    executor.emit({ text: "ab" });
    const reason = new Error("enough");
    const loop = (async () => {
      for await (const _ of run) controller.abort(reason);
    })();
    await assert.rejects(loop, reason);
    await assert.rejects(async () => run, reason);
    assert.deepEqual(executor.cancelled, [1]);
  });

  test("a signal aborted already rejects without queuing", async () => {
    const { engine, executor } = fakeEngine();
    await assert.rejects(async () => engine.generate("a", { signal: AbortSignal.abort("no") }), /no/);
    assert.equal(executor.requests.size, 0);
  });

  test("abort after the end changes nothing", async () => {
    const { engine, executor } = fakeEngine();
    const controller = new AbortController();
    const run = engine.generate("a", { signal: controller.signal });
    executor.emit({ text: "ab", finish: "length" });
    controller.abort();
    assert.equal((await run).text, "ab");
    assert.deepEqual(executor.cancelled, []);
  });

  test("cancel() gives what there is", async () => {
    const { engine } = fakeEngine();
    const run = engine.generate("a");
    run.cancel();
    const { finishReason, timing } = await run;
    assert.equal(finishReason, "cancelled");
    assert.ok(Number.isNaN(timing.ttftMs));
  });
});

describe("failures", () => {
  test("of the engine reject with their code", async () => {
    const { engine, executor } = fakeEngine();
    const run = engine.generate("a");
    executor.emit({ finish: "error", errorCode: "ERR_RANK_LOST", errorMessage: "rank 1 died" });
    await assert.rejects(async () => run, {
      code: "ERR_RANK_LOST",
      message: "rank 1 died",
      name: "RuntimeError",
    });
    await assert.rejects(take(run), { code: "ERR_RANK_LOST" });
  });

  test("nobody waits for are no unhandled rejections", async () => {
    const unhandled: unknown[] = [];
    const listener = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", listener);
    const { engine, executor } = fakeEngine();
    engine.generate("");
    engine.generate("a");
    executor.emit({ finish: "error", errorCode: "ERR_INTERNAL", errorMessage: "x" });
    await turn();
    await turn();
    process.off("unhandledRejection", listener);
    assert.deepEqual(unhandled, []);
  });

  test("when queuing are KrakenErrors", async () => {
    const { engine, executor } = fakeEngine();
    executor.refuse = Object.assign(new Error("full"), { code: "ERR_QUEUE_FULL" });
    await assert.rejects(async () => engine.generate("a"), { code: "ERR_QUEUE_FULL", name: "RuntimeError" });
    assert.equal(executor.keepAlive, false);
  });
});
