/** kraken generate: what reaches the engine, how text streams out, and how it ends early. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { BrokenPipe, Interrupted } from "../../lib/cli/failure.js";
import { ArgumentError } from "../../lib/errors.js";
import { type FakeEngine, fakeEngine, given, kraken, type World } from "./cli-harness.js";

const events = [
  { text: " a", token: 5, sample: 0, logprob: -0.5, alternatives: [{ token: 5, logprob: -0.5 }] },
  { text: "", token: 6, sample: 0, logprob: -1.25, alternatives: [{ token: 8, logprob: -0.25 }] },
  { text: " b", token: 7, sample: 0, logprob: -2, alternatives: [] },
];

async function ask(args: string[], world: World = {}): Promise<FakeEngine> {
  const fake = fakeEngine({ events });
  const { code, stderr } = await kraken(["generate", ...args], { ...world, library: fake.library });
  assert.equal(code, 0, stderr);
  assert.ok(fake.disposed);
  return fake;
}

describe("what reaches the engine", () => {
  test("a prompt, and only the options given", async () => {
    const fake = await ask(["engines/x", "--prompt", "Once"]);
    assert.equal(fake.directory, "engines/x");
    assert.equal(fake.prompt, "Once");
    assert.deepEqual(given(fake.options), {});
    assert.deepEqual(given(fake.load), { prefixReuse: true, verify: true });
  });

  test("every sampling option", async () => {
    const fake = await ask([
      ...[
        "x",
        "-p",
        "Once",
        "--max-tokens",
        "9",
        "--min-tokens",
        "2",
        "--temperature",
        "0.5",
        "--top-k",
        "40",
      ],
      ...["--top-p", "0.9", "--min-p", "0.1", "--repetition-penalty", "1.1", "--presence-penalty", "-0.5"],
      ...[
        "--frequency-penalty",
        "0.25",
        "--seed",
        "3",
        "--stop",
        "a",
        "--stop",
        "b, c",
        "--stop-tokens",
        "1,2",
      ],
      ...["--ignore-eos", "--logprobs", "0", "--n", "1"],
    ]);
    assert.deepEqual(given(fake.options), {
      maxTokens: 9,
      minTokens: 2,
      temperature: 0.5,
      topK: 40,
      topP: 0.9,
      minP: 0.1,
      repetitionPenalty: 1.1,
      presencePenalty: -0.5,
      frequencyPenalty: 0.25,
      seed: 3,
      stop: ["a", "b, c"],
      stopTokens: [1, 2],
      ignoreEos: true,
      logprobs: 0,
      n: 1,
    });
  });

  test("every engine option, by TensorRT-LLM's names where it has them", async () => {
    const fake = await ask([
      ...["--engine_dir", "x", "--input_text", "Once", "--max_output_len", "4", "--max_batch_size", "2"],
      ...[
        "--max_seq_len",
        "64",
        "--max_num_tokens",
        "32",
        "--prefill_chunk",
        "16",
        "--kv_cache_tokens",
        "128",
      ],
      ...["--threads_per_rank", "1", "--isolation", "process", "--no-prefix-reuse", "--no-verify"],
      ...[
        "--hosts",
        "a:1,b:1",
        "--launch-agent",
        "srun -w",
        "--start-timeout",
        "2.5",
        "--exchange-dtype",
        "bf16",
      ],
    ]);
    assert.deepEqual([fake.directory, fake.prompt, fake.options?.maxTokens], ["x", "Once", 4]);
    assert.deepEqual(given(fake.load), {
      maxBatchSize: 2,
      maxSequenceLength: 64,
      maxStepTokens: 32,
      prefillChunk: 16,
      kvCacheTokens: 128,
      prefixReuse: false,
      threadsPerRank: 1,
      isolation: "process",
      hosts: "a:1,b:1",
      launchAgent: "srun -w",
      startTimeout: 2.5,
      exchangeDtype: "bfloat16",
      verify: false,
    });
  });

  test("a seed beyond 2^53 stays exact", async () => {
    const fake = await ask(["x", "--prompt", "a", "--seed", "18446744073709551615"]);
    assert.equal(fake.options?.seed, 18446744073709551615n);
  });

  for (const ids of ["1,2,3", "1 2 3", "[1, 2, 3]"]) {
    test(`--tokens "${ids}"`, async () => {
      assert.deepEqual((await ask(["x", "--tokens", ids])).prompt, [1, 2, 3]);
    });
  }

  test("stdin, without its last newline, with characters cut anywhere", async () => {
    assert.equal((await ask(["x"], { stdin: "Once\nupon\n" })).prompt, "Once\nupon");
    const bytes = Buffer.from("naïve 🐙");
    const pieces = [...bytes].map((byte) => Uint8Array.of(byte));
    assert.equal((await ask(["x"], { stdin: pieces })).prompt, "naïve 🐙");
  });
});

describe("output", () => {
  test("text streams to stdout, nothing else anywhere", async () => {
    const { stdout, stderr } = await kraken(["generate", "x", "--prompt", "y"], fakeEngine({ events }));
    assert.equal(stdout, " a b\n");
    assert.equal(stderr, "");
  });

  test("without a tokenizer, token ids", async () => {
    const { stdout } = await kraken(
      ["generate", "x", "--tokens", "1"],
      fakeEngine({ events, hasTokenizer: false }),
    );
    assert.equal(stdout, "5 6 7\n");
  });

  test("on a terminal, what it cost on stderr", async () => {
    const { stderr } = await kraken(["generate", "x", "--prompt", "y"], {
      ...fakeEngine({ events }),
      terminal: true,
    });
    assert.equal(
      stderr,
      "\nTTFT 12.0 ms, then 3.00 ms per token (333 tokens/s); 3 → 3 tokens in 30.0 ms, ended by length; seed 7\n",
    );
  });

  test("--logprobs: one line for each token", async () => {
    const { stdout } = await kraken(
      ["generate", "x", "--prompt", "y", "--logprobs", "1"],
      fakeEngine({ events }),
    );
    assert.deepEqual(stdout.split("\n"), [
      '  -0.500       5  "<5>"             "<5>" -0.50',
      '  -1.250       6  "<6>"             "<8>" -0.25',
      '  -2.000       7  "<7>"',
      "",
    ]);
  });

  test("--n: one continuation after another", async () => {
    const sample = (text: string) => ({ text, tokens: [1, 2], finishReason: "stop" as const });
    const fake = fakeEngine({ result: { samples: [sample("one"), sample("two")] } });
    const { stdout } = await kraken(["generate", "x", "--prompt", "y", "--n", "2"], fake);
    assert.equal(stdout, "[1] one\n[2] two\n");
  });

  test("--json: one document; what is not a number is null, a large seed a string", async () => {
    const timing = {
      ttftMs: 1,
      engineTtftMs: 1,
      queueMs: 0,
      decodeMsPerToken: Number.NaN,
      totalMs: 1,
      preemptions: 0,
    };
    const fake = fakeEngine({ events, result: { seed: 2n ** 60n, timing } });
    const { stdout, stderr } = await kraken(["generate", "x", "--prompt", "y", "--json"], {
      ...fake,
      terminal: true,
    });
    const result = JSON.parse(stdout);
    assert.equal(result.text, " a b");
    assert.deepEqual(result.tokens, [5, 6, 7]);
    assert.equal(result.seed, "1152921504606846976");
    assert.equal(result.timing.decodeMsPerToken, null);
    assert.equal(stderr, "");
  });
});

describe("ending early", () => {
  function aborted(reason: Error): World {
    const controller = new AbortController();
    controller.abort(reason);
    return { ...fakeEngine({ events, failure: reason }), signal: controller.signal };
  }

  test("Ctrl-C: what came so far, exit code 130", async () => {
    const world = aborted(new Interrupted("SIGINT", 130));
    const { code, stdout, stderr } = await kraken(["generate", "x", "--prompt", "y"], world);
    assert.equal(code, 130);
    assert.equal(stdout, " a b\n");
    assert.equal(stderr, "interrupted (SIGINT)\n");
  });

  test("Ctrl-C with --json: still one document", async () => {
    const world = aborted(new Interrupted("SIGINT", 130));
    const { code, stdout } = await kraken(["generate", "x", "--prompt", "y", "--json"], world);
    assert.equal(code, 130);
    assert.equal(JSON.parse(stdout).error.code, "ERR_INTERRUPTED");
  });

  test("a closed pipe is no failure", async () => {
    const { code, stderr } = await kraken(["generate", "x", "--prompt", "y"], aborted(new BrokenPipe()));
    assert.equal(code, 0);
    assert.equal(stderr, "");
  });

  test("an engine that fails is disposed all the same", async () => {
    const fake = fakeEngine({ failure: new ArgumentError("ERR_OPTION", "`topP` must be at most 1, got 2") });
    const { code, stderr } = await kraken(["generate", "x", "--prompt", "y", "--top-p", "2"], fake);
    assert.equal(code, 2);
    assert.equal(stderr, "error: --top-p must be at most 1, got 2\ncode: ERR_OPTION\n");
    assert.ok(fake.disposed);
  });
});
