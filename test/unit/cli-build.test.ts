/** kraken build: what reaches buildEngine(), and what is said about the result. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ArgumentError } from "../../lib/errors.js";
import { given, kraken } from "./cli-harness.js";

const config = {
  architecture: "kraken",
  ways: 2,
  layers: 6,
  hiddenSize: 192,
  heads: 3,
  kvHeads: 3,
  headDim: 64,
  ffnSize: 384,
  vocabSize: 4096,
  maxPositions: 256,
  norm: { kind: "layer", eps: 1e-5, bias: false },
  activation: "gelu_tanh",
  positions: { kind: "learned" },
  bias: { qkv: false, attnProj: false, mlp: false, head: false },
  tiedHead: true,
  conjunctionBias: false,
};

const plan = {
  source: "a test",
  config,
  ranks: 2,
  dtype: "bfloat16",
  backend: "cpu",
  perRank: [
    {
      weightBytes: 3 << 20,
      loadedWeightBytes: 6 << 20,
      kvBytesPerToken: 4096,
      kvCacheBytes: 8 << 20,
      activationBytes: 1 << 20,
      exchangeBytes: 2 << 20,
      ops: 40,
    },
    {
      weightBytes: 3 << 20,
      loadedWeightBytes: 6 << 20,
      kvBytesPerToken: 4096,
      kvCacheBytes: 8 << 20,
      activationBytes: 1 << 20,
      exchangeBytes: 0,
      ops: 40,
    },
  ],
  limits: { maxStepTokens: 256, maxBatchSize: 8, maxSequenceLength: 256 },
  network: { Attention: 6, Linear: 24 },
  validRanks: [1, 2],
  graph: "embed\n",
};
const summary = { ...plan, directory: "/somewhere/engine", bytes: 6 << 20, files: {}, seconds: 0.25 };

function fakeBuild(answer: unknown = summary, progress: { bytesDone: number }[] = []) {
  const calls: Record<string, unknown>[] = [];
  const buildEngine = async (options: Record<string, unknown>) => {
    calls.push(options);
    for (const { bytesDone } of progress) {
      (options.onProgress as (p: object) => void)({ stage: "weights", bytesDone, bytesTotal: 1000 });
    }
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { calls, library: { build: async () => ({ buildEngine }) } };
}

async function options(...args: string[]): Promise<Record<string, unknown>> {
  const fake = fakeBuild();
  const { code, stderr } = await kraken(["build", ...args], fake);
  assert.equal(code, 0, stderr);
  return given(fake.calls[0]);
}

describe("options", () => {
  test("only what was given is passed on: the library fills in defaults", async () => {
    assert.deepEqual(await options("ckpt.pt", "--output", "out"), { checkpoint: "ckpt.pt", output: "out" });
  });

  test("every option", async () => {
    assert.deepEqual(
      await options(
        ...["ckpt.pt", "--output", "out", "--ranks", "4", "--dtype", "float32", "--backend", "cpu"],
        ...["--architecture", "ladder", "--max-positions", "512", "--force"],
      ),
      {
        checkpoint: "ckpt.pt",
        output: "out",
        ranks: 4,
        dtype: "float32",
        backend: "cpu",
        architecture: "ladder",
        maxPositions: 512,
        overwrite: true,
      },
    );
  });

  test("--push is not buildEngine()'s: it takes what was built to the other hosts", async () => {
    const fake = fakeBuild();
    const pushes: unknown[][] = [];
    const pushEngine = async (...given: unknown[]) => {
      pushes.push(given);
      return [{ host: "b", files: ["config.json", "rank1.engine"], written: true }];
    };
    const library = { ...fake.library, push: async () => ({ pushEngine }) };
    const words = ["build", "ckpt.pt", "--output", "out", "--push", "a:1,b:1", "--launch-agent", "rsh -l me"];
    const { code, stdout, stderr } = await kraken(words, { library });
    assert.equal(code, 0, stderr);
    assert.deepEqual(given(fake.calls[0]), { checkpoint: "ckpt.pt", output: "out" });
    const [directory, { hosts, launchAgent }] = pushes[0] as [string, { hosts: string; launchAgent: string }];
    assert.deepEqual([directory, hosts, launchAgent], [summary.directory, "a:1,b:1", "rsh -l me"]);
    assert.match(stdout, /b +2 files/);
  });

  test("what an engine for GPUs is compiled for", async () => {
    const { maxBatchSize, maxStepTokens, ranksPerDevice } = await options(
      ...["x", "--output", "y", "--max-batch-size", "16", "--max_num_tokens", "4096"],
      ...["--ranks-per-device", "2"],
    );
    assert.deepEqual([maxBatchSize, maxStepTokens, ranksPerDevice], [16, 4096, 2]);
  });

  test("a preset needs no checkpoint, a dry run no output", async () => {
    assert.deepEqual(await options("--random", "tiny", "--seed", "3", "--dry-run"), {
      random: "tiny",
      seed: 3,
      dryRun: true,
    });
  });

  for (const flag of ["--tp", "--tp_size", "--tp-size", "--tensor_parallel_size", "--ranks"]) {
    test(`${flag} means ranks`, async () => {
      assert.equal((await options("x", "--output", "y", flag, "2")).ranks, 2);
      assert.equal((await options("x", "--output", "y", `${flag}=2`)).ranks, 2);
    });
  }

  test("TensorRT-LLM's names for limits", async () => {
    const given = await options(
      ...["x", "--output", "y", "--max_batch_size", "32", "--max_input_len", "512", "--max_seq_len", "1024"],
      ...["--max_num_tokens", "8192", "--gather_context_logits", "--gpus_per_node", "4"],
    );
    assert.deepEqual(given, {
      checkpoint: "x",
      output: "y",
      maxBatchSize: 32,
      maxInputLength: 512,
      maxPositions: 1024,
      maxStepTokens: 8192,
      gatherContextLogits: true,
      gpusPerNode: 4,
    });
  });

  test("TensorRT-LLM's names for directories", async () => {
    assert.deepEqual(await options("--checkpoint_dir", "x", "--output_dir", "y"), {
      checkpoint: "x",
      output: "y",
    });
  });

  test("usual spellings of types and backends", async () => {
    const { dtype, backend } = await options("x", "--output", "y", "--dtype", "bf16", "--backend", "trtllm");
    assert.deepEqual([dtype, backend], ["bfloat16", "tensorrt-llm"]);
    for (const word of ["fp16", "f16", "half", "float16"]) {
      assert.equal((await options("x", "--output", "y", "--dtype", word)).dtype, "float16");
    }
  });

  test("KRAKEN_RANKS is a default, which the command line overrides, by any name", async (t) => {
    process.env.KRAKEN_RANKS = "2";
    t.after(() => delete process.env.KRAKEN_RANKS);
    assert.equal((await options("x", "--output", "y")).ranks, 2);
    assert.equal((await options("x", "--output", "y", "--ranks", "4")).ranks, 4);
    assert.equal((await options("x", "--output", "y", "--tp_size", "6")).ranks, 6);
  });
});

describe("output", () => {
  test("says what was built", async () => {
    const { stdout, stderr } = await kraken(["build", "x", "--output", "y"], fakeBuild());
    assert.match(stdout, /Kraken, 2 ways, 6 layers, \d\.\d\d million parameters/);
    assert.match(stdout, /2 ranks, bfloat16, backend cpu/);
    assert.match(stdout, /3\.00 MiB of weights/);
    assert.match(stdout, /6\.00 MiB in 250 ms/);
    assert.equal(stderr, "");
  });

  test("a dry run says that nothing was written", async () => {
    const { stdout } = await kraken(["build", "x", "--dry-run"], fakeBuild(plan));
    assert.match(stdout, /^dry run, nothing was written\n/);
    assert.match(stdout, /1, 2 are possible/);
    assert.match(
      stdout,
      /rank 0 +about 17\.0 MiB: 6\.00 MiB weights, 8\.00 MiB key\/value cache, 1\.00 MiB activations, 2\.00 MiB exchange buffers\n/,
    );
    assert.match(stdout, /rank 1 +about 15\.0 MiB: .* 1\.00 MiB activations\n/);
    assert.match(stdout, /for +8 sequences of 256 tokens, steps of up to 256\n/);
    assert.match(stdout, /network +6 Attention, 24 Linear\n/);
  });

  test("--json is the summary, without the graph's listing", async () => {
    const { stdout } = await kraken(["build", "x", "--output", "y", "--json"], fakeBuild());
    const { graph: _, ...expected } = summary;
    assert.deepEqual(JSON.parse(stdout), JSON.parse(JSON.stringify(expected)));
  });

  test("progress is shown on a terminal only, and removed at the end", async () => {
    const progress = [{ bytesDone: 250 }, { bytesDone: 1000 }];
    const shown = await kraken(["build", "x", "--output", "y"], {
      ...fakeBuild(summary, progress),
      terminal: true,
    });
    assert.match(shown.stderr, /\rweights +█{6}░{18} 25 % of 1000 B/);
    assert.match(shown.stderr, /\r +\r$/);
    const piped = await kraken(["build", "x", "--output", "y"], fakeBuild(summary, progress));
    assert.equal(piped.stderr, "");
    const json = await kraken(["build", "x", "--output", "y", "--json"], {
      ...fakeBuild(summary, progress),
      terminal: true,
    });
    assert.equal(json.stderr, "");
  });
});

describe("errors", () => {
  test("an argument the library refuses is a usage error, told in the command's words", async () => {
    const error = new ArgumentError(
      "ERR_RANKS",
      "`ranks` must divide the ways (4): got 3; see `maxPositions`",
    );
    const { code, stderr } = await kraken(["build", "x", "--output", "y"], fakeBuild(error));
    assert.equal(code, 2);
    assert.equal(
      stderr,
      "error: --ranks must divide the ways (4): got 3; see --max-positions\ncode: ERR_RANKS\n",
    );
  });
});
