/** The command as a process: real engines, real pipes, real signals. */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { BuildSummary } from "../../lib/build.js";
import type { EngineStats, ScoreResult } from "../../lib/engine.js";
import type { GenerationResult } from "../../lib/generation.js";
import { native } from "../../lib/native.js";

const root = join(import.meta.dirname, "..", "..");
const work = mkdtempSync(join(tmpdir(), "kraken-cli-"));
after(() => rmSync(work, { recursive: true, force: true }));

const tiny = join(work, "tiny");
const llama = join(root, "test", "fixtures", "hf-llama-gqa");

function start(args: string[], env: Record<string, string> = {}): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, ["--import", "tsx", join("lib", "cli", "main.ts"), ...args], {
    cwd: root,
    env: { ...process.env, ...env },
  });
}

interface Refusal {
  error: { code: string; message: string };
}

interface Inspection {
  kind: string;
  dtype: string;
  perRank: { weightBytes: number; kvBytesPerToken: number }[];
  validRanks: number[];
}

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function end(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  const ended = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text) => {
    ended.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    ended.stderr += text;
  });
  const [code] = await once(child, "close");
  return { code, ...ended };
}

/** Runs it with `stdin` piped in. */
function kraken(args: string[], stdin = "", env: Record<string, string> = {}): Promise<Ended> {
  const child = start(args, env);
  child.stdin.on("error", () => {}); // it may not read it
  child.stdin.end(stdin);
  return end(child);
}

interface JsonOptions {
  code?: number;
  env?: Record<string, string>;
}

async function json<Document>(args: string[], { code = 0, env = {} }: JsonOptions = {}): Promise<Document> {
  const ran = await kraken([...args, "--json"], "", env);
  assert.equal(ran.code, code, ran.stderr + ran.stdout);
  assert.equal(ran.stderr, "");
  return JSON.parse(ran.stdout);
}

/** Everything the process writes until it has written this much to stdout. */
async function firstOutput(child: ChildProcessWithoutNullStreams, characters: number): Promise<void> {
  let length = 0;
  for await (const chunk of child.stdout) {
    length += chunk.length;
    if (length >= characters) return;
  }
  assert.fail("it ended before");
}

before(async () => {
  const { code, stderr } = await kraken(
    ["build", "--random", "kraken-tiny-2way", "--output", tiny].concat([
      "--tp_size",
      "2",
      "--dtype",
      "float32",
    ]),
  );
  assert.equal(code, 0, stderr);
});

describe("build", () => {
  test("writes a directory with a file for each rank", () => {
    assert.deepEqual(readdirSync(tiny).sort(), ["config.json", "rank0.engine", "rank1.engine"]);
  });

  test("does not replace an engine unless forced", async () => {
    const args = [
      "build",
      "--random",
      "kraken-tiny-2way",
      "--output",
      tiny,
      "--ranks",
      "2",
      "--dtype",
      "float32",
    ];
    const refused = await json<Refusal>(args, { code: 1 });
    assert.equal(refused.error.code, "ERR_ENGINE_PATH");
    const built = await json<BuildSummary>([...args, "--force"]);
    assert.equal(built.ranks, 2);
    assert.ok(built.bytes > 0);
  });

  test("says which rank counts would work", async () => {
    const { code, stderr } = await kraken([
      "build",
      "--random",
      "kraken-tiny-4way",
      "--ranks",
      "3",
      "--dry-run",
    ]);
    assert.equal(code, 2);
    assert.match(stderr, /code: ERR_RANKS/);
    assert.match(stderr, /1, 2(, | or | and )4/);
  });

  test("names the preset that was meant, and the backend that is missing", async () => {
    const preset = await kraken(["build", "--random", "kraken-tiny-2wya", "--dry-run"]);
    assert.equal(preset.code, 2);
    assert.match(preset.stderr, /did you mean kraken-tiny-2way\?/);
    const backend = await kraken([
      "build",
      "--random",
      "kraken-tiny-2way",
      "--backend",
      "tensorrt",
      "--output",
      join(work, "no-gpu"),
    ]);
    assert.equal(backend.code, 1);
    assert.match(backend.stderr, /backend "tensorrt" is not available[\s\S]*code: ERR_BACKEND_UNAVAILABLE/);
  });

  test("a foreign file", async () => {
    const { error } = await json<Refusal>(
      ["build", join(root, "package.json"), "--output", join(work, "no")],
      { code: 1 },
    );
    assert.match(error.code, /^ERR_(CHECKPOINT|CONFIG)/);
  });

  test("Ctrl-C leaves nothing behind", async () => {
    const parent = join(work, "interrupted");
    const child = start(["build", "--random", "kraken-760m-4way", "--output", join(parent, "engine")]);
    const ended = end(child);
    const poll = setInterval(() => {
      try {
        // Weights are being written.
        if (readdirSync(parent).some((name) => readdirSync(join(parent, name)).length > 0)) {
          child.kill("SIGINT");
          clearInterval(poll); // a second one would end it at once
        }
      } catch {
        // not there yet
      }
    }, 20);
    const { code, stderr } = await ended;
    clearInterval(poll);
    assert.equal(code, 130, stderr);
    assert.equal(stderr, "interrupted (SIGINT)\n");
    assert.deepEqual(
      readdirSync(work).filter((name) => name === "interrupted"),
      [],
    );
  });
});

describe("generate", () => {
  const greedy = ["generate", tiny, "--max-tokens", "12", "--temperature", "0", "--threads-per-rank", "1"];

  test("the same text from --prompt, --tokens and stdin, and from one run to the next", async () => {
    const prompt = await kraken([...greedy, "--prompt", "Hello"]);
    assert.equal(prompt.code, 0, prompt.stderr);
    assert.equal(prompt.stderr, "");
    assert.equal(
      (await kraken([...greedy, "--tokens", [...Buffer.from("Hello")].join()])).stdout,
      prompt.stdout,
    );
    assert.equal((await kraken(greedy, "Hello\n")).stdout, prompt.stdout);
  });

  test("--json: the whole result, with log-probabilities and stats", async () => {
    const result = await json<GenerationResult & { stats: EngineStats }>([
      ...greedy,
      "--prompt",
      "Hello",
      "--logprobs",
      "2",
      "--stats",
    ]);
    assert.equal(result.tokens.length, 12);
    assert.equal(result.logprobs?.length, 12);
    assert.equal(result.alternatives?.[0]?.length, 2);
    assert.equal(result.finishReason, "length");
    assert.equal(result.promptTokens, 5);
    assert.ok(result.timing.ttftMs > 0);
    assert.equal(result.stats.generatedTokens, 12);
  });

  test("--isolation process: the same, from a process of its own", async () => {
    const here = await kraken([...greedy, "--prompt", "Hello"]);
    const there = await kraken([...greedy, "--prompt", "Hello", "--isolation", "process"]);
    assert.equal(there.code, 0, there.stderr);
    assert.equal(there.stdout, here.stdout);
    const wrong = await kraken([...greedy, "--prompt", "Hello", "--isolation", "thread"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /^error: --isolation must be "none" or "process"/);
  });

  test("--stats: what it cost, on stderr", async () => {
    const { stderr } = await kraken([...greedy, "--prompt", "Hello", "--stats", "--profile"]);
    assert.match(stderr, /^TTFT .* per token .*; 5 → 12 tokens in .*, ended by length; seed \d+\n/);
    assert.match(stderr, /^ {2}waiting +for other ranks: rank 0 .*, rank 1 /m);
    assert.match(stderr, /^ +rank 0 +rank 1$/m);
    assert.match(stderr, /^ {2}attention +\S+ ms +\S+ ms$/m);
  });

  test("arguments the engine refuses are told as options", async () => {
    const { code, stderr } = await kraken([...greedy, "--prompt", "Hello", "--top-p", "2"]);
    assert.equal(code, 2);
    assert.match(stderr, /^error: --top-p must be .*\ncode: ERR_OPTION\n$/);
  });

  test("an empty prompt, a token out of range, a prompt that is too long", async () => {
    for (const [args, stdin, expected] of [
      [[], "", "ERR_EMPTY_PROMPT"],
      [["--tokens", "1,256"], "", "ERR_TOKEN_RANGE"],
      [[], "x".repeat(129), "ERR_CONTEXT_LENGTH"],
    ] as const) {
      const { code, stderr } = await kraken([...greedy, ...args], stdin);
      assert.equal(code, 2, stderr);
      assert.match(stderr, new RegExp(`code: ${expected}`));
    }
  });

  describe("for a long time", () => {
    const long = join(work, "long");
    const endless = ["generate", long, "--tokens", "1,2,3", "--max-tokens", "90000", "--ignore-eos"].concat(
      "--max-batch-size",
      "1",
    );

    before(async () => {
      const built = await kraken([
        "build",
        llama,
        "--output",
        long,
        "--max-positions",
        "100000",
        "--ranks",
        "2",
      ]);
      assert.equal(built.code, 0, built.stderr);
    });

    for (const [signal, exitCode, where] of [
      ["SIGINT", 130, "none"],
      ["SIGTERM", 143, "none"],
      ["SIGINT", 130, "process"],
    ] as const) {
      test(`${signal} ends it cleanly, with what came so far (isolation: ${where})`, async () => {
        const child = start([...endless, "--isolation", where]);
        child.stdout.once("data", () => child.kill(signal));
        const { code, stdout, stderr } = await end(child);
        assert.equal(code, exitCode, stderr);
        assert.equal(stderr, `interrupted (${signal})\n`);
        assert.match(stdout, /^\d+( \d+)*\n$/);
      });
    }

    test("a reader that leaves ends it quietly", async () => {
      const child = start(endless);
      let stderr = "";
      child.stderr.on("data", (text) => {
        stderr += text;
      });
      const closed = once(child, "close");
      await firstOutput(child, 10); // leaving the loop closes the pipe
      assert.deepEqual(await closed, [0, null]);
      assert.equal(stderr, "");
    });
  });
});

describe("score", () => {
  test("tokens, logprobs and perplexity, and nothing else", async () => {
    const result = await json<ScoreResult>(["score", tiny, "--tokens", "5,17,3"]);
    assert.deepEqual(Object.keys(result), ["tokens", "logprobs", "perplexity"]);
    assert.deepEqual(result.tokens, [5, 17, 3]);
    const [first, ...rest] = result.logprobs;
    assert.equal(first, null);
    assert.ok(rest.every((logprob) => logprob !== null && logprob < 0));
    const mean = rest.reduce((sum: number, logprob) => sum + logprob!, 0) / rest.length;
    assert.ok(Math.abs(result.perplexity / Math.exp(-mean) - 1) < 1e-9);
  });

  test("agrees with generate about the same tokens", async () => {
    const run = [
      "generate",
      tiny,
      "--tokens",
      "5,17,3",
      "--max-tokens",
      "4",
      "--temperature",
      "0",
      "--logprobs",
      "0",
    ];
    const { tokens, logprobs } = await json<GenerationResult>(run);
    const all = [5, 17, 3, ...tokens];
    const scored = await json<ScoreResult>(["score", tiny, "--tokens", all.join()]);
    for (const [i, logprob] of logprobs!.entries()) {
      assert.ok(Math.abs(scored.logprobs[i + 3]! - logprob) < 1e-4);
    }
  });
});

describe("the bundled model", () => {
  const models = join(root, "models");
  const model = join(models, readdirSync(models)[0]!);
  const engine = join(work, "bundled");
  const expected: ScoreResult = JSON.parse(readFileSync(join(model, "expected.json"), "utf8"));

  before(() => json(["build", model, "--output", engine, "--ranks", "2", "--dtype", "float32"]));

  const sets = native().capabilities().backends.cpu!.details.instructionSets!.split(", ");
  for (const isa of ["portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"]) {
    const skip = sets.includes(isa) ? false : `this machine has only ${sets.join(", ")}`;
    test(`scores as the float64 reference does, with ${isa}`, { skip }, async (t) => {
      const scored = await json<ScoreResult>(["score", engine, "--tokens", expected.tokens.join()], {
        env: { KRAKEN_CPU_ISA: isa },
      });
      const errors = scored.logprobs
        .slice(1)
        .map((logprob, i) => Math.abs(logprob! - expected.logprobs[i + 1]!));
      const largest = Math.max(...errors);
      t.diagnostic(`largest error of a log-probability ${largest.toExponential(1)}, allowed 1e-4`);
      assert.ok(largest < 1e-4);
      assert.ok(Math.abs(scored.perplexity / expected.perplexity - 1) < 1e-4);
    });
  }

  test("encodes text as its tokenizer does", async () => {
    const { prompt } = expected as ScoreResult & { prompt: string };
    const { tokens } = await json<ScoreResult>(["score", engine, "--text", prompt]);
    assert.deepEqual(tokens, expected.tokens);
  });
});

describe("inspect and doctor", () => {
  test("an engine", async () => {
    const engine = await json<Inspection>(["inspect", tiny]);
    assert.equal(engine.kind, "engine");
    assert.equal(engine.dtype, "float32");
    assert.equal(engine.perRank.length, 2);
    assert.deepEqual(engine.validRanks, [1, 2]);
    const graph = await kraken(["inspect", tiny, "--graph"]);
    assert.match(graph.stdout, /\nrank 0\n.*\n.*/);
  });

  test("a checkpoint on more ranks", async () => {
    const checkpoint = await json<Inspection>([
      "inspect",
      join(root, "test", "fixtures", "kraken-6way-d38", "ckpt.pt"),
      "--tp",
      "3",
    ]);
    assert.equal(checkpoint.kind, "checkpoint");
    assert.deepEqual(checkpoint.validRanks, [1, 2, 3, 6]);
    assert.equal(checkpoint.perRank.length, 3);
    assert.ok(checkpoint.perRank.every((rank) => rank.weightBytes > 0 && rank.kvBytesPerToken > 0));
  });

  test("this machine can run engines", async () => {
    const doctor = await json<{ ok: boolean }>(["doctor"]);
    assert.equal(doctor.ok, true);
    const { code, stdout } = await kraken(["doctor"]);
    assert.equal(code, 0);
    assert.match(stdout, /^cpu +available/m);
    assert.match(stdout, /^worker +kraken-worker \d\S+ \(protocol \d+, build [0-9a-f]{16}\)$/m);
    assert.match(stdout, /^tensorrt +not available: .+/m);
    assert.ok(!stdout.includes(root));
  });
});
