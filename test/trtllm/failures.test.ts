/**
 * What can go wrong with ranks under mpirun: every rank dies in every phase, says errors, hangs, never starts, or is not
 * what it should be. Each ends in a coded error within bounded time, and leaves no process.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "../../lib/index.js";
import { library } from "../helpers/child.js";
import { withEnvironment } from "../helpers/environment.js";
import {
  allGone,
  buildDouble,
  doubleEnvironment,
  doubleOnly,
  doubleWorker,
  engineFor,
  outcome,
  processes,
  real,
  skip,
} from "../helpers/trtllm-double.js";

const mark = `failures-${process.pid}`;
let root: string;
let restore = () => {};
const at = (name: string) => join(root, name);
const engineOf = (ranks: number) => engineFor(root, ranks);

before(async () => {
  if (skip) return;
  root = await mkdtemp(join(tmpdir(), "kraken-trtllm-"));
  restore = withEnvironment({ ...doubleEnvironment, KRAKEN_TEST_MARK: mark });
  for (const ranks of real ? [] : [2, 4]) await buildDouble(engineOf(ranks), { ranks });
});
after(async () => {
  restore();
  if (root) await rm(root, { recursive: true, force: true });
});

const long = { maxTokens: 100, temperature: 0, ignoreEos: true } as const;

async function within<T>(variables: Record<string, string | undefined>, work: () => Promise<T>): Promise<T> {
  const undo = withEnvironment(variables);
  try {
    return await work();
  } finally {
    undo();
  }
}

const fault = (text: string, work: () => Promise<void>) => within({ KRAKEN_DOUBLE_FAULT: text }, work);

/** An executable script; `--version` answers as the test likes. */
async function script(name: string, version: string, body: string): Promise<string> {
  const path = at(name);
  await writeFile(path, `#!/bin/sh\nif [ "$1" = --version ]; then echo '${version}'; exit 0; fi\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

async function pidOf(rank: number): Promise<number> {
  for (const until = performance.now() + 10_000; performance.now() < until; await sleep(10)) {
    const found = processes(mark).find((process) => process.rank === rank);
    if (found) return found.pid;
  }
  throw new Error(`rank ${rank} did not start`);
}

async function loadFails(engine: string, expected: RegExp, limitMs = 10_000): Promise<void> {
  const started = performance.now();
  const result = await outcome(Engine.load(engine));
  assert.match(result, expected);
  const took = performance.now() - started;
  assert.ok(took < limitMs, `took ${took} ms`);
  await allGone(mark);
}

describe("tensorrt-llm fails", { skip }, () => {
  for (const ranks of [2, 4]) {
    for (let rank = 0; rank < ranks; rank++) {
      test(`rank ${rank} of ${ranks} is killed while it loads`, () =>
        fault("slow-start@3000", async () => {
          const loading = outcome(Engine.load(engineOf(ranks)));
          const pid = await pidOf(rank);
          await sleep(500);
          process.kill(pid, "SIGKILL");
          const started = performance.now();
          assert.match(await loading, /^ERR_(RANK_LOST|NATIVE_LOAD) /);
          assert.ok(performance.now() - started < 4000);
          await allGone(mark);
        }));

      test(`rank ${rank} of ${ranks} is killed while idle, and a new engine loads`, async () => {
        const engine = await Engine.load(engineOf(ranks));
        process.kill(await pidOf(rank), "SIGKILL");
        const started = performance.now();
        let result = "";
        while (!result.startsWith("ERR_RANK_LOST") && performance.now() - started < 5000) {
          result = await outcome(engine.generate([1], { ...long, maxTokens: 2 }));
        }
        assert.match(result, /^ERR_RANK_LOST /);
        await engine.dispose();
        await allGone(mark);
      });

      test(`rank ${rank} of ${ranks} is killed in mid-request`, () =>
        fault("slow@20", async () => {
          const engine = await Engine.load(engineOf(ranks));
          const runs = [1, 2, 3].map((token) => engine.generate([token], long));
          await runs[0]![Symbol.asyncIterator]().next();
          process.kill(await pidOf(rank), "SIGKILL");
          const started = performance.now();
          for (const result of await Promise.all(runs.map(outcome))) assert.match(result, /^ERR_RANK_LOST /);
          assert.ok(performance.now() - started < 4000, `${performance.now() - started} ms`);
          await engine.dispose();
          await allGone(mark);
        }));
    }
  }

  for (const [what, text, expected] of [
    [
      "exits in mid-request",
      "exit@1:3",
      /^ERR_RANK_LOST .*exit code: *3|^ERR_RANK_LOST .*ended with exit code 3/,
    ],
    ["aborts as NCCL does", "abort@1:3", /^ERR_RANK_LOST .*(NCCL WARN|signal 6)/],
    ["exits while idle", "exit@1:idle", /^ERR_RANK_LOST /],
  ] as const) {
    test(`a rank ${what}`, { skip: doubleOnly }, () =>
      fault(text, async () => {
        const engine = await Engine.load(engineOf(2));
        if (text.endsWith("idle")) await sleep(1000);
        assert.match(await outcome(engine.generate([1], long)), expected);
        await engine.dispose();
        await allGone(mark);
      }),
    );
  }

  test("a rank that throws while it loads says why", { skip: doubleOnly }, () =>
    fault("throw@1", () =>
      loadFails(engineOf(2), /^ERR_ENGINE_CORRUPT rank 1: .*the double was told to throw/),
    ),
  );

  test("a rank that exits while it loads", { skip: doubleOnly }, () =>
    fault("exit@1:start", () => loadFails(engineOf(2), /^ERR_RANK_LOST /)),
  );

  test("an error of one request is that request's", { skip: doubleOnly }, () =>
    fault("error@2", async () => {
      await using engine = await Engine.load(engineOf(2));
      const runs = [1, 2, 3].map((token) => outcome(engine.generate([token], { ...long, maxTokens: 3 })));
      const [first, second, third] = await Promise.all(runs);
      assert.deepEqual([first, third], ["done", "done"]);
      assert.match(second!, /^ERR_INTERNAL TensorRT-LLM: .*told to fail/);
    }),
  );

  test("a rank that is stopped is noticed by its silence", () =>
    fault("slow@20", async () => {
      const engine = await Engine.load(engineOf(2));
      const run = engine.generate([1], long);
      await run[Symbol.asyncIterator]().next();
      process.kill(await pidOf(1), "SIGSTOP");
      const started = performance.now();
      assert.match(await outcome(run), /^ERR_RANK_LOST .*rank 1 has given no sign of life/);
      assert.ok(performance.now() - started < 9000, `${performance.now() - started} ms`);
      await engine.dispose();
      await allGone(mark);
    }));

  test("a rank that hangs in a collective ends with dispose()", { skip: doubleOnly }, () =>
    fault("hang@1:3", async () => {
      const engine = await Engine.load(engineOf(2));
      const run = outcome(engine.generate([1], long));
      await sleep(500);
      const started = performance.now();
      await engine.dispose();
      assert.ok(performance.now() - started < 6000, `${performance.now() - started} ms`);
      assert.match(await run, /^ERR_DISPOSED /);
      await allGone(mark);
    }),
  );

  test("dispose() in mid-request, and a load that is aborted, leave nothing", async () => {
    const engine = await Engine.load(engineOf(4));
    const run = outcome(engine.generate([1], long));
    await engine.dispose();
    assert.match(await run, /^(ERR_DISPOSED |done)/);
    for (const ms of [50, 200, 400]) {
      const signal = AbortSignal.timeout(ms);
      const result = await Engine.load(engineOf(2), { signal }).then(
        (loaded) => loaded.dispose().then(() => "loaded"),
        (error: unknown) => (error === signal.reason ? "aborted" : String(error)),
      );
      assert.match(result, /^(aborted|loaded)$/);
    }
    await allGone(mark);
  });

  test("Node's own end takes all ranks along", async () => {
    const source = `
      const { Engine } = await import(${JSON.stringify(library)});
      const engine = await Engine.load(${JSON.stringify(engineOf(2))});
      const run = engine.generate([1], ${JSON.stringify(long)});
      for await (const _ of run) console.log("token");`;
    await fault("slow@50", async () => {
      const args = ["--import", "tsx", "--input-type=module", "--eval", source];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
      await new Promise((resolve) => child.stdout.once("data", resolve));
      child.kill("SIGKILL");
      await allGone(mark);
    });
  });

  test("an mpirun that starts nothing", async () => {
    const sleeper = await script("sleeper", "mpirun (Open MPI) 4.1.4", "exec sleep 60");
    await within({ KRAKEN_MPIRUN: sleeper, KRAKEN_START_SECONDS: "2" }, () =>
      loadFails(engineOf(2), /^ERR_NATIVE_LOAD .*did not say hello/),
    );
  });

  test("an mpirun that fails says why", async () => {
    const body = "echo 'There are not enough slots available in the system' >&2; exit 1";
    const failing = await script("failing", "mpirun (Open MPI) 4.1.4", body);
    await within({ KRAKEN_MPIRUN: failing }, () =>
      loadFails(engineOf(2), /^ERR_NATIVE_LOAD .*exit code 1.*not enough slots available/),
    );
  });

  test("no mpirun, or one of another MPI", { skip: doubleOnly }, async () => {
    await within({ KRAKEN_MPIRUN: at("nowhere") }, () =>
      loadFails(engineOf(2), /^ERR_BACKEND_UNAVAILABLE .*install Open MPI/),
    );
    const hydra = await script("hydra", "HYDRA build details: Version: 4.0.2", "exit 1");
    await within({ KRAKEN_MPIRUN: hydra }, () =>
      loadFails(engineOf(2), /^ERR_BACKEND_UNAVAILABLE .*another MPI/),
    );
    // Ranks of an MPI that mpirun does not know are each alone in their world.
    const alone = await script("alone", "mpirun (Open MPI) 4.1.4", `exec ${doubleWorker} --rank`);
    await within({ KRAKEN_MPIRUN: alone }, () =>
      loadFails(engineOf(2), /^ERR_RANKS .*for 2 ranks, and 1 were started/),
    );
  });

  test("TensorRT-LLM of another version", { skip: doubleOnly }, async () => {
    await within({ KRAKEN_DOUBLE_VERSION: "1.3.0" }, () =>
      loadFails(engineOf(2), /^ERR_BACKEND_UNAVAILABLE TensorRT-LLM 1\.3\.0 .*no TensorRT engines/),
    );
    await within({ KRAKEN_DOUBLE_VERSION: "1.1.0" }, () =>
      loadFails(engineOf(2), /^ERR_BACKEND_UNAVAILABLE TensorRT-LLM 1\.1\.0 .*older/),
    );
    await within({ KRAKEN_DOUBLE_VERSION: "1.2.0" }, () =>
      loadFails(engineOf(2), /^ERR_ENGINE_VERSION .*1\.2\.1, 1\.2\.0 is installed/),
    );
  });

  test("no TensorRT-LLM, or a worker of another build", { skip: doubleOnly }, async () => {
    const nowhere = { KRAKEN_TRTLLM_WORKER: undefined, PATH: root, VIRTUAL_ENV: undefined };
    await within(nowhere, () =>
      loadFails(engineOf(2), /^ERR_BACKEND_UNAVAILABLE TensorRT-LLM was not found/),
    );
    const other = await script(
      "other",
      "kraken-worker 0.0.1 (protocol 1, build 0), TensorRT-LLM 1.2.1",
      "exit 1",
    );
    await within({ KRAKEN_TRTLLM_WORKER: other }, () =>
      loadFails(engineOf(2), /^ERR_NATIVE_LOAD .*another build.*--build-trtllm/),
    );
  });

  test("an engine that is not what TensorRT-LLM reads", { skip: doubleOnly }, async () => {
    const broken = at("broken");
    await buildDouble(broken, {
      ranks: 2,
      change: (manifest) => {
        delete (manifest.pretrained_config as Partial<NonNullable<typeof manifest.pretrained_config>>)!.dtype;
      },
    });
    await loadFails(broken, /^ERR_ENGINE_CORRUPT .*could not load the engine.*dtype/);
    await buildDouble(at("three"), {
      ranks: 2,
      change: (manifest) => {
        manifest.ranks = 3;
      },
    });
    await loadFails(at("three"), /^ERR_RANKS .*for 2 ranks, and 3 were started/);
  });
});
