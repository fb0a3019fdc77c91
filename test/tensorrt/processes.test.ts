/**
 * Engines of backend tensorrt whose ranks are processes, over stand-ins for GPUs (stand_in/): kraken-worker is the one
 * that is shipped, networks are interpreted, and sums pass through memory that the ranks share, or through an NCCL of the
 * tests' own. `npm run test:tensorrt` sets the environment and runs this.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { buildEngine, Engine, type LoadOptions } from "../../lib/index.js";
import { withEnvironment } from "../helpers/environment.js";
import { relativeError } from "../helpers/npy.js";
import { failure, noRemoteRanks, remoteRanks, writeAgent } from "../helpers/ranks.js";

const standIn = process.env.KRAKEN_STAND_IN;
const skip = standIn === undefined ? "KRAKEN_STAND_IN is not set: `npm run test:tensorrt` sets it" : false;

type Variables = Record<string, string | undefined>;
const path = process.env.LD_LIBRARY_PATH ?? "";
const nccl = { LD_LIBRARY_PATH: path.replace(`${standIn}/no_nccl`, `${standIn}/nccl`) };
const ncclAlone = { ...nccl, KRAKEN_SHIM_SHARED: undefined };

let root: string;
before(async () => {
  if (skip) return;
  root = await mkdtemp(join(tmpdir(), "kraken-processes-"));
  for (const ranks of [2, 4]) {
    const model = { random: `kraken-tiny-${ranks}way`, ranks, dtype: "float32" } as const;
    const limits = { backend: "tensorrt", maxStepTokens: 32, maxBatchSize: 4 };
    await buildEngine({ ...model, ...limits, output: gpuEngine(ranks) });
    await buildEngine({ ...model, output: cpuEngine(ranks) });
  }
});
after(async () => {
  if (root !== undefined) await rm(root, { recursive: true, force: true });
});
const gpuEngine = (ranks: number) => join(root, `gpu${ranks}`);
const cpuEngine = (ranks: number) => join(root, `cpu${ranks}`);

let agents = 0;
const agent = (body: string) => writeAgent(root, `agent${++agents}`, body);

/**
 * The second host is this machine by another address, with GPUs of its own: its ranks come from an agent, which may change
 * what they see.
 */
const apart = (ranks: number, there = 'exec "$@"'): LoadOptions => ({
  hosts: `127.0.0.1:${ranks / 2},127.0.0.2:${ranks / 2}`,
  launchAgent: agent(`export KRAKEN_SHIM_FIRST_BUS=16; ${there}`),
});

/** Prompts in chunks beside sequences that decode, and the logits of all positions of one. */
const prompts = [5, 60, 33, 1, 70, 12].map((length, i) =>
  Array.from({ length }, (_, position) => (position * 7 + i) % 250),
);
const greedy = { maxTokens: 25, temperature: 0, ignoreEos: true } as const;

async function answers(engine: Engine) {
  const runs = await Promise.all(prompts.map((prompt) => engine.generate(prompt, greedy)));
  const { data } = await engine.logits(prompts[1]!);
  return { tokens: runs.map(({ tokens }) => tokens), logits: data };
}

/** Gives a command another machine's identity. */
const elsewhere =
  'id=$(mktemp) && echo another > $id && exec unshare -m sh -c \'mount --bind "$0" /proc/sys/kernel/random/boot_id && ' +
  'rm -f "$0"; exec "$@"\' $id';

/** Why that cannot be done here; false where it can. */
function withoutMachines(): string | false {
  const { status, stderr } = spawnSync("sh", ["-c", `${elsewhere} cat /proc/sys/kernel/random/boot_id`], {
    encoding: "utf8",
  });
  return status === 0 ? false : `a process cannot be given another machine's identity here: ${stderr.trim()}`;
}

describe("ranks of backend tensorrt as processes", { skip }, () => {
  for (const ranks of [2, 4]) {
    const ways: [string, Variables, () => LoadOptions][] = [
      ["threads", {}, () => ({})],
      ["processes here", {}, () => ({ hosts: `localhost:${ranks}` })],
      ["processes on two hosts", {}, () => apart(ranks)],
      [
        "processes that share a GPU",
        { KRAKEN_SHIM_DEVICES: "1" },
        () => ({ ...apart(ranks), ranksPerDevice: ranks }),
      ],
      ["processes with NCCL alone", ncclAlone, () => apart(ranks)],
      ["processes with peer access and NCCL", nccl, () => apart(ranks)],
    ];
    test(`${ranks} ranks generate what backend cpu does`, async (t) => {
      await using reference = await Engine.load(cpuEngine(ranks));
      const want = await answers(reference);
      for (const [name, variables, options] of ways) {
        await t.test(name, async (t) => {
          const undo = withEnvironment(variables);
          try {
            const given = options();
            await using engine = await Engine.load(gpuEngine(ranks), given);
            assert.equal(remoteRanks().length, given.hosts === undefined ? 0 : ranks - 1);
            const got = await answers(engine);
            assert.deepEqual(got.tokens, want.tokens);
            const [error, tolerance] = [relativeError(got.logits, want.logits), 1e-5];
            t.diagnostic(
              `logits ${error.toExponential(2)}, ${((100 * error) / tolerance).toFixed(0)} % of tolerance`,
            );
            assert.ok(error <= tolerance);
            assert.equal(engine.stats().weightBytes > 0, true);
          } finally {
            undo();
          }
        });
        await noRemoteRanks();
      }
    });
  }

  test("ranks on two machines exchange over NCCL", { skip: skip || withoutMachines() }, async () => {
    const options = () => apart(2, `${elsewhere} "$@"`);
    const undo = withEnvironment(nccl);
    try {
      await using reference = await Engine.load(cpuEngine(2));
      await using engine = await Engine.load(gpuEngine(2), options());
      assert.deepEqual((await answers(engine)).tokens, (await answers(reference)).tokens);
    } finally {
      undo();
    }
    const { code, message } = await failure(Engine.load(gpuEngine(2), options()));
    assert.equal(code, "ERR_COMMUNICATION");
    assert.match(message, /does not reach rank \d: it is on another machine; NCCL would do without, but/);
    await noRemoteRanks();
  });

  describe("a rank that is lost", () => {
    /** What the rank has come to; whether others wait for it on the host or on their devices; what they exchange with. */
    const phases: [string, NodeJS.Signals, Variables][] = [
      ["start", "SIGKILL", {}],
      ["load", "SIGKILL", {}],
      ["load", "SIGSTOP", {}],
      ["ipc", "SIGKILL", {}],
      ["ipc", "SIGSTOP", {}],
      ["nccl", "SIGKILL", ncclAlone],
      ["nccl", "SIGSTOP", ncclAlone],
      ["prefill", "SIGKILL", {}],
      ["prefill", "SIGSTOP", {}],
      ["prefill", "SIGKILL", ncclAlone],
      ["decode", "SIGKILL", {}],
      ["decode", "SIGSTOP", ncclAlone],
    ];
    for (const [phase, signal, variables] of phases) {
      for (const ranks of signal === "SIGKILL" && variables === ncclAlone ? [2] : [2, 4]) {
        const how = variables === ncclAlone ? "over NCCL" : "over peer memory";
        test(`${phase}, ${signal}, the last of ${ranks} ${how}`, async (t) => {
          const undo = withEnvironment(variables);
          const file = join(root, `end${++agents}`);
          const loads = phase !== "prefill" && phase !== "decode";
          // The last rank alone; the others of its host live.
          const end = `KRAKEN_STAND_IN_ENDS="${phase} ${constants.signals[signal]} ${file}"`;
          const there = `if [ "$3" = ${ranks - 1} ]; then export ${end}; fi; exec "$@"`;
          try {
            if (loads) writeFileSync(file, "");
            const from = performance.now();
            let error: Awaited<ReturnType<typeof failure>>;
            let took: number;
            if (loads) {
              error = await failure(Engine.load(gpuEngine(ranks), apart(ranks, there)));
              took = performance.now() - from;
            } else {
              await using engine = await Engine.load(gpuEngine(ranks), apart(ranks, there));
              if (phase === "prefill") writeFileSync(file, "");
              const runs = prompts.map((prompt) => engine.generate(prompt, greedy));
              if (phase === "decode") {
                await runs[0]![Symbol.asyncIterator]().next();
                writeFileSync(file, "");
              }
              const lost = performance.now();
              const errors = await Promise.all(runs.map(failure));
              took = performance.now() - lost;
              error = errors[0]!;
              assert.ok(errors.every(({ code }) => code === "ERR_RANK_LOST"));
            }
            t.diagnostic(`${took.toFixed(0)} ms: ${error.message}`);
            assert.equal(error.code, "ERR_RANK_LOST", error.message);
            assert.match(error.message, new RegExp(`rank ${ranks - 1} \\(127\\.0\\.0\\.2:\\d+\\)`));
            // Each rank's GPU is a thread here, and there are more of them than cores: twice what is promised.
            const [starting, noticing] = [loads ? 2000 : 0, signal === "SIGKILL" ? 2000 : 3000];
            assert.ok(took < starting + noticing, `${took} ms`);
            await noRemoteRanks();
          } finally {
            undo();
          }
        });
      }
    }

    test("leaves an engine that can be loaded again", async () => {
      await using engine = await Engine.load(gpuEngine(2), apart(2));
      process.kill(remoteRanks()[0]!, "SIGKILL");
      await noRemoteRanks();
      assert.equal((await failure(engine.generate([1], greedy))).code, "ERR_RANK_LOST");
      await using again = await Engine.load(gpuEngine(2), apart(2));
      assert.equal((await again.generate([1], greedy)).tokens.length, greedy.maxTokens);
    });
  });

  const failing: [string, () => LoadOptions | Promise<LoadOptions>, string, RegExp, Variables?][] = [
    [
      "fewer GPUs than ranks on another host",
      () => ({ ...apart(4, 'KRAKEN_SHIM_DEVICES=1 exec "$@"') }),
      "ERR_BACKEND_UNAVAILABLE",
      /rank [23] \(127\.0\.0\.2:\d+\): 2 ranks, 1 on each GPU, need 2 GPUs; this process sees 1/,
    ],
    [
      "fewer GPUs than ranks here",
      () => ({ hosts: "localhost:4" }),
      "ERR_BACKEND_UNAVAILABLE",
      /4 ranks, 1 on each GPU, need 4 GPUs; this process sees 3/,
      { KRAKEN_SHIM_DEVICES: "3" },
    ],
    [
      "another TensorRT on another host",
      () => apart(4, 'KRAKEN_STAND_IN_VERSION=10.2.0 exec "$@"'),
      "ERR_ENGINE_BACKEND",
      /rank [23] \(127\.0\.0\.2:\d+\): the engine was built with TensorRT 10\.\S+ \(here: TensorRT 10\.2\.0\)/,
    ],
    [
      "GPUs of another kind on another host",
      () => apart(4, 'KRAKEN_STAND_IN_GPU="another GPU" exec "$@"'),
      "ERR_ENGINE_BACKEND",
      /rank [23] .*stand-in for a GPU .*\(here: another GPU \(compute capability 9\.0\)\)/,
    ],
    [
      "no TensorRT on another host",
      () => apart(4, `LD_LIBRARY_PATH=${standIn}/driver exec "$@"`),
      "ERR_BACKEND_UNAVAILABLE",
      /rank [23] .*libnvinfer\.so\.10 was not found/,
    ],
    [
      "no driver on another host",
      () => apart(4, 'unset LD_LIBRARY_PATH; exec "$@"'),
      "ERR_BACKEND_UNAVAILABLE",
      /rank [23] .*backend tensorrt is not available: libcuda\.so\.1 was not found/,
    ],
    [
      "GPUs that do not reach each other, and no NCCL",
      () => apart(4),
      "ERR_COMMUNICATION",
      /cannot exchange sums: .*rank \d does not reach .*; NCCL would do without, but not every rank has it/,
      { KRAKEN_SHIM_SHARED: undefined },
    ],
    [
      "another engine on another host",
      async () => {
        const other = join(root, "another");
        await mkdir(other);
        await buildEngine({
          random: "kraken-tiny-4way",
          seed: 1,
          ranks: 4,
          dtype: "float32",
          backend: "tensorrt",
          maxStepTokens: 32,
          maxBatchSize: 4,
          output: join(other, "gpu4"),
        });
        return apart(4, `cd ${other} && exec "$@"`);
      },
      "ERR_ENGINE_CORRUPT",
      /rank [23] .*: .* is another engine than rank 0's/,
    ],
    [
      "a type for the exchange",
      () => ({ ...apart(4), exchangeDtype: "bfloat16" }),
      "ERR_OPTION",
      /`exchangeDtype` is for backend "cpu"/,
    ],
    [
      "places for other ranks than the engine has",
      () => apart(2),
      "ERR_RANKS",
      /places for 2 ranks on 2 hosts, but .* has 4/,
    ],
  ];
  for (const [what, options, code, message, variables] of failing) {
    test(`${what}: ${code}`, async () => {
      const given = await options();
      // Every process sees its own working directory's engine.
      const before = process.cwd();
      process.chdir(root);
      const undo = withEnvironment(variables ?? {});
      try {
        const from = performance.now();
        const error = await failure(Engine.load("/proc/self/cwd/gpu4", given));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
        assert.ok(performance.now() - from < 5000, `${performance.now() - from} ms`);
        await noRemoteRanks();
      } finally {
        undo();
        process.chdir(before);
      }
    });
  }

  test("nothing stays when rank 0 is killed, nor when a load is aborted", async () => {
    await using engine = await Engine.load(gpuEngine(4), apart(4));
    const runs = prompts.map((prompt) => engine.generate(prompt, greedy));
    await runs[0]![Symbol.asyncIterator]().next();
    const [rankZero, ...more] = workers();
    assert.deepEqual(more, []);
    process.kill(rankZero!, "SIGKILL");
    const errors = await Promise.all(runs.map(failure));
    assert.ok(errors.every(({ code }) => code === "ERR_RANK_LOST"));
    await noRemoteRanks(3000);
    for (const ms of [20, 150, 400, 700]) {
      const signal = AbortSignal.timeout(ms);
      await Engine.load(gpuEngine(4), { ...apart(4), signal }).then(
        (loaded) => loaded.dispose(),
        (error: unknown) => assert.equal(error, signal.reason),
      );
    }
    await noRemoteRanks(3000);
  });
});

/** Processes that rank 0 runs in. */
function workers(): number[] {
  const { stdout } = spawnSync("pgrep", ["-P", String(process.pid), "-f", "kraken-worker --socket"], {
    encoding: "utf8",
  });
  return stdout.split("\n").filter(Boolean).map(Number);
}
