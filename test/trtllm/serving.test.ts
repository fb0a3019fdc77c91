/**
 * Engines that TensorRT-LLM's executor runs, under mpirun: everything an Engine does, over the double of its interface, or
 * with `npm run test:trtllm` over the library itself. What the double computes is the CPU backend's, so results are known.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Engine, type GenerateOptions, KrakenError } from "../../lib/index.js";
import { runScript } from "../helpers/child.js";
import { withEnvironment } from "../helpers/environment.js";
import {
  allGone,
  buildDouble,
  doubleEnvironment,
  doubleOnly,
  engineFor,
  processes,
  real,
  skip,
} from "../helpers/trtllm-double.js";

const mark = `serving-${process.pid}`;
let root: string;
let restore = () => {};
/** Over the library, the engine of as many ranks stands for each. */
const at = (name: string) => (real ? engineFor(root, name === "four" ? 4 : 2) : join(root, name));

before(async () => {
  if (skip) return;
  root = await mkdtemp(join(tmpdir(), "kraken-trtllm-"));
  restore = withEnvironment({ ...doubleEnvironment, KRAKEN_TEST_MARK: mark });
  if (real) return;
  const limits = { maxBatchSize: 16, gatherContextLogits: true };
  await buildDouble(at("two"), { ranks: 2, limits });
  await buildDouble(at("four"), { ranks: 4, limits });
  await buildDouble(at("plain"), { ranks: 2 });
  await buildDouble(at("gpt"), { ranks: 2, random: "gpt-tiny", dtype: "float16" });
  // The same weights, as an engine of the CPU backend.
  for (const name of ["two", "four", "gpt"]) {
    const change = (manifest: { backend: string }) => {
      manifest.backend = "cpu";
    };
    const model = name === "gpt" ? ({ random: "gpt-tiny", dtype: "float16" } as const) : {};
    await buildDouble(at(`${name}-cpu`), { ranks: name === "four" ? 4 : 2, ...model, change });
  }
});
after(async () => {
  restore();
  if (root) await rm(root, { recursive: true, force: true });
});

const greedy = { maxTokens: 12, temperature: 0, ignoreEos: true, seed: 1 } as const;

async function refusal(work: () => PromiseLike<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    return error instanceof KrakenError ? error.code : String(error);
  }
  return "nothing";
}

describe("tensorrt-llm", { skip }, () => {
  for (const name of ["two", "four", "gpt"]) {
    test(`gives what the CPU backend gives: ${name}`, { skip: doubleOnly }, async () => {
      await using here = await Engine.load(at(`${name}-cpu`));
      await using there = await Engine.load(at(name));
      const ranks = processes(mark).filter(({ rank }) => rank >= 0);
      assert.deepEqual(ranks.map(({ rank }) => rank).sort(), [...Array(name === "four" ? 4 : 2).keys()]);
      const cases: GenerateOptions[] = [
        greedy,
        { maxTokens: 12, seed: 7n, temperature: 0.9, topP: 0.9, topK: 40, repetitionPenalty: 1.2, n: 3 },
        { maxTokens: 9, seed: 1, presencePenalty: 0.5, frequencyPenalty: 0.25, minP: 0.01 },
        { maxTokens: 9, seed: 3, logitBias: { 5: 4, 9: -3 } },
      ];
      for (const options of cases) {
        const [a, b] = await Promise.all([
          here.generate([1, 2, 3], options),
          there.generate([1, 2, 3], options),
        ]);
        const { timing: _, ...mine } = a;
        const { timing, ...theirs } = b;
        assert.deepEqual(theirs, mine);
        assert.ok(timing.ttftMs > 0 && timing.queueMs >= 0 && timing.totalMs >= timing.ttftMs);
      }
    });
  }

  test("log-probabilities are the model's, whatever the sampling parameters", {
    skip: doubleOnly,
  }, async () => {
    await using here = await Engine.load(at("two-cpu"));
    await using there = await Engine.load(at("two"));
    const options = { maxTokens: 8, seed: 5, temperature: 0.7, topK: 10, logprobs: 3 };
    const mine = await here.generate([4, 5, 6], options);
    const theirs = await there.generate([4, 5, 6], options);
    assert.deepEqual(theirs.tokens, mine.tokens);
    for (const [i, logprob] of theirs.logprobs!.entries()) {
      assert.ok(Math.abs(logprob - mine.logprobs![i]!) < 1e-4);
      const tokens = (list: { token: number }[]) => list.map(({ token }) => token);
      assert.deepEqual(tokens(theirs.alternatives![i]!), tokens(mine.alternatives![i]!));
    }
  });

  test("stop tokens end the output, and minTokens holds one back", async () => {
    await using engine = await Engine.load(at("two"));
    const { tokens } = await engine.generate([1, 2, 3], greedy);
    const stop = tokens.find((token, i) => i >= 2 && !tokens.slice(0, i).includes(token)) ?? tokens[0]!;
    const first = tokens.indexOf(stop);
    const ended = await engine.generate([1, 2, 3], { ...greedy, stopTokens: [stop, (stop + 1) % 256] });
    assert.deepEqual([ended.finishReason, ended.stopReason], ["stop", stop]);
    assert.deepEqual(ended.tokens, tokens.slice(0, first));
    const held = await engine.generate([1, 2, 3], { ...greedy, stopTokens: [stop], minTokens: first + 2 });
    assert.ok(held.tokens.length >= first + 2, `${held.tokens.length} tokens`);
    assert.equal(
      await refusal(async () => engine.generate([1], { ...greedy, stopTokens: [1, 2], minTokens: 2 })),
      "ERR_OPTION",
    );
  });

  test("tokens stream as they come", async () => {
    const slow = withEnvironment({ KRAKEN_DOUBLE_FAULT: "slow@40" });
    try {
      await using engine = await Engine.load(at("two"));
      const came: number[] = [];
      const started = performance.now();
      for await (const _ of engine.generate([1, 2], { ...greedy, maxTokens: 6 })) {
        came.push(performance.now() - started);
      }
      assert.equal(came.length, 6);
      assert.ok(came[5]! - came[0]! > 120, `all within ${came[5]! - came[0]!} ms`);
    } finally {
      slow();
    }
  });

  test("32 requests at once, each as if it were alone", async () => {
    await using there = await Engine.load(at("four"));
    const prompts = Array.from({ length: 32 }, (_, i) =>
      Array.from({ length: 1 + (i % 7) }, (_, j) => i + j + 1),
    );
    const run = async (prompt: number[], i: number) =>
      (await there.generate(prompt, { ...greedy, maxTokens: 4 + (i % 9) })).tokens;
    const alone: number[][] = [];
    for (const [i, prompt] of prompts.entries()) alone.push(await run(prompt, i));
    const together = await Promise.all(prompts.map(run));
    assert.deepEqual(together, alone);
    const stats = there.stats();
    assert.deepEqual([stats.finished, stats.failed, stats.pending], [64, 0, 0]);
    assert.ok(stats.steps > 0 && stats.stepMsTotal > 0 && stats.kvBlockTokens === 64);
    assert.equal(stats.generatedTokens, 2 * together.flat().length);
  });

  test("cancelling, leaving the loop and aborting free the engine for others", async () => {
    await using engine = await Engine.load(at("two"), { maxBatchSize: 1 });
    const long = { ...greedy, maxTokens: 100 };
    for await (const _ of engine.generate([1], long)) break;
    const aborted = new AbortController();
    const run = engine.generate([2], { ...long, signal: aborted.signal });
    await run[Symbol.asyncIterator]().next();
    aborted.abort(new Error("no more"));
    await assert.rejects(async () => run, /no more/);
    assert.equal((await engine.generate([3], { ...greedy, maxTokens: 3 })).tokens.length, 3);
    const { cancelled, finished } = engine.stats();
    assert.deepEqual([cancelled, finished], [2, 1]);
  });

  test("score() and logits() need an engine that gathers them", { skip: doubleOnly }, async () => {
    await using here = await Engine.load(at("two-cpu"));
    await using there = await Engine.load(at("two"));
    const mine = await here.score([5, 6, 7, 8]);
    const theirs = await there.score([5, 6, 7, 8]);
    for (const [i, logprob] of theirs.logprobs.entries()) {
      assert.ok(i === 0 ? logprob === null : Math.abs(logprob! - mine.logprobs[i]!) < 1e-4);
    }
    assert.deepEqual(await there.logits([5, 6, 7]), await here.logits([5, 6, 7]));
    await using plain = await Engine.load(at("plain"));
    assert.equal(await refusal(() => plain.score([5, 6])), "ERR_OPTION");
    assert.equal(await refusal(() => plain.logits([5, 6])), "ERR_OPTION");
    assert.equal(await refusal(() => plain.measureBound({ phase: "decode" })), "ERR_OPTION");
  });

  test("what does not map, and more than the engine was built for, is refused", {
    skip: doubleOnly,
  }, async () => {
    for (const options of [
      { link: "1Gbit,5ms" },
      { threadsPerRank: 2 },
      { prefillChunk: 64 },
      { profile: true },
      { isolation: "none" as const },
      { maxBatchSize: 9 },
      { maxStepTokens: 1 << 19 },
      { maxStepTokens: 100 }, // less than its longest prompt, in float32
    ]) {
      assert.equal(
        await refusal(() => Engine.load(at("plain"), options)),
        "ERR_OPTION",
        JSON.stringify(options),
      );
    }
    assert.equal(
      await refusal(() => Engine.load(at("plain"), { kvCacheTokens: 64 })),
      "ERR_OUT_OF_MEMORY", // less than one sequence
    );
    await using engine = await Engine.load(at("plain"), { maxSequenceLength: 100, maxQueue: 4 });
    assert.equal(await refusal(async () => engine.generate(Array(120).fill(1))), "ERR_CONTEXT_LENGTH");
    assert.equal(await refusal(async () => engine.generate([256])), "ERR_TOKEN_RANGE");
    const flood = Array.from({ length: 40 }, () => refusal(async () => engine.generate([1], greedy)));
    const outcomes = await Promise.all(flood);
    assert.ok(outcomes.includes("ERR_QUEUE_FULL") && outcomes.includes("nothing"), outcomes.join());
  });

  test("ranks that print to standard output disturb nobody", { skip: doubleOnly }, async () => {
    const script = `
      const { Engine } = await import(library);
      const loaded = await Engine.load(engine, { onLaunch: (command) => console.error("launch: " + command) });
      console.log((await loaded.generate([1, 2], { maxTokens: 4, temperature: 0, ignoreEos: true })).tokens.length);
      await loaded.dispose();`;
    const chatter = withEnvironment({ KRAKEN_DOUBLE_FAULT: "chatter" });
    try {
      const { code, stdout, stderr } = await runScript(script, { engine: at("two") });
      assert.deepEqual([code, stdout], [0, "4\n"], stderr);
      assert.match(stderr, /rank 1 in an iteration/);
      assert.match(stderr, /launch: .*mpirun -np 2 .*kraken-worker-trtllm --rank/);
    } finally {
      chatter();
    }
  });

  test("nothing is left of any of them", () => allGone(mark));
});
