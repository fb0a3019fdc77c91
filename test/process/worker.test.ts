/** Engines in a process of their own: the same results, and whatever becomes of that process, this one lives. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine, type GenerateOptions, KrakenError } from "../../lib/index.js";
import { buildTiny, runScript, workerPrelude } from "../helpers/child.js";

const skip = process.platform === "linux" ? false : "processes are looked up in /proc";

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-worker-"));
  engine = join(root, "tiny");
  await buildTiny(engine);
});
after(() => rm(root, { recursive: true, force: true }));

const load = (options = {}) => Engine.load(engine, { isolation: "process", ...options });
const long = { maxTokens: 100, ignoreEos: true, temperature: 0, seed: 1 } as const;

/** A link so slow that none of `long` ends before it is told to: over half a second each. */
const slow = { link: "1Gbit,5ms" };

/** Running or zombie. */
function children(): number[] {
  const found: number[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // pid (name) state parent …; a name may hold anything.
      const parent = /^.*\) \S (\d+)/s.exec(readFileSync(`/proc/${name}/stat`, "utf8"))?.[1];
      if (Number(parent) === process.pid) found.push(Number(name));
    } catch {
      // it ended meanwhile
    }
  }
  return found;
}

function workers(): number[] {
  return children().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("kraken-worker");
    } catch {
      return false;
    }
  });
}

/** The worker of the only isolated engine. */
function workerPid(): number {
  const pids = workers();
  assert.equal(pids.length, 1, `workers: ${pids}`);
  return pids[0]!;
}

/** A child of this process must have been reaped, too; an orphan is reaped by whoever does that on this system. */
async function gone(pid: number, { orphan = false } = {}): Promise<void> {
  let stat = "";
  for (const until = performance.now() + 2000; performance.now() < until; await sleep(10)) {
    try {
      stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    } catch {
      return;
    }
    if (orphan && /\) [ZX] /.test(stat)) return;
  }
  assert.fail(`process ${pid} is still there: ${stat}`);
}

const outcome = (work: PromiseLike<unknown>): Promise<string> =>
  Promise.resolve(work).then(
    () => "done",
    (error: unknown) => (error instanceof KrakenError ? error.code : String(error)),
  );

describe("isolation: process", { skip }, () => {
  test("gives the same as in this process, to the last bit", async () => {
    await using here = await Engine.load(engine);
    await using there = await load();
    const cases: GenerateOptions[] = [
      long,
      { maxTokens: 30, seed: 7n, temperature: 0.9, topP: 0.9, topK: 40, repetitionPenalty: 1.2, n: 3 },
      { maxTokens: 20, seed: 2n ** 63n, minP: 0.01, logprobs: 3, logitBias: { 5: 2, 9: -3 } },
      { maxTokens: 20, seed: 1, stopTokens: [3, 4, 5, 6, 7, 8], minTokens: 2, presencePenalty: 0.5 },
    ];
    for (const options of cases) {
      const [a, b] = await Promise.all([
        here.generate([1, 2, 3], options),
        there.generate([1, 2, 3], options),
      ]);
      const { timing: _, ...mine } = a;
      const { timing, ...theirs } = b;
      assert.deepEqual(theirs, mine);
      assert.ok(timing.ttftMs > 0 && timing.ttftMs >= timing.queueMs);
    }
    assert.deepEqual(await there.score([5, 6, 7, 8]), await here.score([5, 6, 7, 8]));
    assert.deepEqual(await there.logits([5, 6, 7]), await here.logits([5, 6, 7]));
    assert.ok((await there.measureBound({ phase: "decode" })) >= 0);
    const { finished, weightBytes } = there.stats();
    assert.deepEqual([finished, weightBytes], [here.stats().finished, here.stats().weightBytes]);
    await assert.rejects(async () => there.generate([1, 300]), { code: "ERR_TOKEN_RANGE" });
  });

  for (const signal of ["SIGKILL", "SIGTERM", "SIGSEGV"] as const) {
    test(`${signal} rejects everything within a second, and nothing else happens`, async () => {
      await using loaded = await load({ ...slow, maxBatchSize: 2 });
      const pid = workerPid();
      const runs = Array.from({ length: 8 }, (_, i) => loaded.generate([i + 1], long));
      await runs[0]![Symbol.asyncIterator]().next();
      process.kill(pid, signal);
      const from = performance.now();
      const outcomes = await Promise.all(runs.map(outcome));
      assert.ok(performance.now() - from < 1000, `${performance.now() - from} ms`);
      assert.ok(
        outcomes.every((code) => code === "ERR_RANK_LOST"),
        outcomes.join(),
      );
      await assert.rejects(async () => loaded.generate([1]), {
        code: "ERR_RANK_LOST",
        message: /^the engine failed before: kraken-worker \(process \d+\) was killed by SIG/,
      });
      await gone(pid);
      assert.equal(loaded.stats().failed, 8);
      await using next = await load();
      assert.equal((await next.generate([1], long)).tokens.length, 100);
    });
  }

  test("SIGSTOP rejects everything within 6 seconds, while the event loop turns", async (t) => {
    await using loaded = await load(slow);
    const pid = workerPid();
    const run = loaded.generate([1], long);
    await run[Symbol.asyncIterator]().next();
    process.kill(pid, "SIGSTOP");
    const from = performance.now();
    let [last, longest] = [from, 0];
    const pulse = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 10);
    const waiting = loaded.generate([2], long);
    assert.equal(await outcome(run), "ERR_RANK_LOST");
    assert.equal(await outcome(waiting), "ERR_RANK_LOST");
    clearInterval(pulse);
    const took = performance.now() - from;
    t.diagnostic(`rejected after ${took.toFixed(0)} ms; the loop's longest turn ${longest.toFixed(0)} ms`);
    assert.ok(took < 6500 && longest < 300);
    await gone(pid);
  });

  test("a flood is bounded by maxQueue, and what was accepted is served", async () => {
    await using loaded = await load({ maxQueue: 20, maxBatchSize: 2 });
    const outcomes = await Promise.all(
      Array.from({ length: 1000 }, (_, i) =>
        outcome(loaded.generate([(i % 200) + 1], { ...long, maxTokens: 5 })),
      ),
    );
    const done = outcomes.filter((code) => code === "done").length;
    assert.ok(done >= 20, `${done} done`);
    assert.equal(outcomes.filter((code) => code === "ERR_QUEUE_FULL").length, 1000 - done);
    assert.equal((await loaded.generate([1], { ...long, maxTokens: 5 })).tokens.length, 5);
  });

  test("cancelling, leaving the loop and aborting work, and free the worker", async () => {
    await using loaded = await load({ maxBatchSize: 1 });
    for await (const _ of loaded.generate([1], long)) break;
    const aborted = new AbortController();
    const run = loaded.generate([2], { ...long, signal: aborted.signal });
    aborted.abort(new Error("no more"));
    await assert.rejects(async () => run, /no more/);
    assert.equal((await loaded.generate([3], { ...long, maxTokens: 3 })).tokens.length, 3);
  });

  test("a load that is aborted leaves no process", async () => {
    for (const ms of [0, 2, 5, 10, 20]) {
      const signal = AbortSignal.timeout(ms);
      const result = await load({ signal }).then(
        (loaded) => loaded.dispose(),
        (error: unknown) => assert.equal(error, signal.reason),
      );
      assert.equal(result, undefined);
    }
    assert.deepEqual(workers(), []);
  });

  test("twenty cycles leave no file and no process", async () => {
    await (await load()).dispose();
    const files = () => readdirSync("/proc/self/fd").length;
    const before = files();
    for (let cycle = 0; cycle < 20; cycle++) {
      const loaded = await load();
      const run = loaded.generate([1, cycle + 1], { ...long, maxTokens: 4 });
      if (cycle % 3 === 0) process.kill(workerPid(), "SIGKILL");
      await outcome(run);
      await loaded.dispose();
    }
    assert.deepEqual(workers(), []);
    assert.ok(files() <= before, `${files()} open files, ${before} before`);
  });

  test("several engines have a worker each", async () => {
    await using first = await load(slow);
    await using second = await load(slow);
    const pids = workers();
    assert.equal(pids.length, 2);
    const [a, b] = [first.generate([1], long), second.generate([1], long)];
    process.kill(pids[0]!, "SIGKILL");
    assert.deepEqual([await outcome(a), await outcome(b)].sort(), ["ERR_RANK_LOST", "done"]);
  });
});

describe("a worker that does not fit", { skip }, () => {
  const script = (name: string, text: string) => {
    const path = join(root, name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return path;
  };
  const withWorker = async (path: string) => {
    process.env.KRAKEN_WORKER = path;
    try {
      return await load().then(
        async (loaded) => {
          await loaded.dispose();
          assert.fail("it should not load");
        },
        (error: unknown) => error as KrakenError,
      );
    } finally {
      delete process.env.KRAKEN_WORKER;
    }
  };
  const remedy = /npm run setup.*npm rebuild kraken-engine/;

  for (const [what, path, expected] of [
    ["is missing", () => join(root, "no-such-worker"), /cannot be run \(.*No such file or directory\)/],
    ["is no executable", () => join(engine, "config.json"), /cannot be run \(.*Permission denied\)/],
    ["ends at once", () => script("ends", "exit 4"), /ended with exit code 4 before it said hello/],
    [
      "says garbage",
      () => script("garbage", "head -c 100000 /dev/zero | tr '\\0' x >&3; sleep 60"),
      /garbled/,
    ],
    [
      "is of another build",
      // A frame of 15 bytes, type 1: the magic number, protocol 1, "old".
      () =>
        script(
          "other",
          "printf '\\017\\0\\0\\0\\001\\0\\0\\0KRKN\\001\\0\\0\\0\\003\\0\\0\\0old' >&3; sleep 60",
        ),
      /different builds \(protocol \d+, build [0-9a-f]{16} against protocol 1, build old\)/,
    ],
  ] as const) {
    test(what, async () => {
      const error = await withWorker(path());
      assert.equal(error.code, "ERR_NATIVE_LOAD");
      assert.match(error.message, expected);
      assert.match(error.message, remedy);
      assert.deepEqual(workers(), []);
      await (await load()).dispose();
    });
  }
});

describe("no worker outlives Node", { skip }, () => {
  const begin = `
const { readdirSync, readFileSync } = await import("node:fs");
const worker = () => readdirSync("/proc").find((pid) => {
  try {
    return /^\\d+$/.test(pid) && readFileSync("/proc/" + pid + "/cmdline", "utf8").includes("kraken-worker")
      && readFileSync("/proc/" + pid + "/stat", "utf8").includes(") ") && new RegExp("\\\\) . " + process.pid + " ").test(readFileSync("/proc/" + pid + "/stat", "utf8"));
  } catch { return false; }
});
const { Engine } = await import(library);
const loaded = await Engine.load(engine, { isolation: "process" });
const run = loaded.generate([1, 2, 3], { maxTokens: 120, ignoreEos: true });
const iterator = run[Symbol.asyncIterator]();
await iterator.next();
console.log("worker", worker());
`;
  for (const [how, script, code, signal] of [
    ["process.exit()", "process.exit(7);", 7, null],
    ["an uncaught exception", 'setTimeout(() => { throw new Error("on purpose"); });', 1, null],
    ["SIGKILL", 'process.kill(process.pid, "SIGKILL");', null, "SIGKILL"],
    ["SIGSEGV", 'process.kill(process.pid, "SIGSEGV");', null, "SIGSEGV"],
    [
      "SIGKILL while the worker is stopped",
      'process.kill(Number(worker()), "SIGSTOP"); process.kill(process.pid, "SIGKILL");',
      null,
      "SIGKILL",
    ],
    ["the end of the script, without dispose()", "await run;", 0, null],
    ["the end of the script, while it disposes", "loaded.dispose();", 0, null],
  ] as const) {
    test(`after ${how}`, async () => {
      const result = await runScript(`${begin} ${script}`, { engine });
      assert.deepEqual([result.code, result.signal], [code, signal], JSON.stringify(result, null, 1));
      const pid = Number(/worker (\d+)/.exec(result.stdout)?.[1]);
      assert.ok(pid > 0, JSON.stringify(result, null, 1));
      assert.doesNotMatch(result.stderr, /kraken-worker|FATAL|terminate called/);
      await gone(pid, { orphan: true });
    });
  }

  test("after worker threads ended or were terminated in mid-run", async () => {
    const thread = `${workerPrelude}
import { parentPort } from "node:worker_threads";
${begin.replace("console.log(", "parentPort.postMessage([").replace("worker());", "worker()]);")}
if (mode === "end") { await run; parentPort.postMessage("done"); } else await new Promise(() => setInterval(() => {}, 1e6));`;
    const script = `
import { Worker } from "node:worker_threads";
for (const mode of ["end", "terminate"]) {
  const constants = \`const library = \${JSON.stringify(library)}, engine = \${JSON.stringify(engine)}, mode = "\${mode}";\\n\`;
  const worker = new Worker(constants + ${JSON.stringify(thread)}, { eval: true, execArgv: ["--input-type=module"] });
  worker.on("error", (error) => { console.error(error); process.exit(99); });
  const [, pid] = await new Promise((resolve) => worker.once("message", resolve));
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  if (mode === "terminate") await worker.terminate();
  await exited;
  try { process.kill(Number(pid), 0); console.log("left", pid); } catch { console.log("gone"); }
}`;
    const result = await runScript(script, { engine });
    assert.equal(result.code, 0, JSON.stringify(result, null, 1));
    assert.equal(result.stdout, "gone\ngone\n");
  });

  test("after Ctrl-C, which reaches both processes, `kraken generate` ends as ever", async () => {
    const args = ["generate", engine, "--tokens", "1", "--max-tokens", "120", "--ignore-eos"];
    const child = spawn(
      process.execPath,
      ["--import", "tsx", join("lib", "cli", "main.ts"), ...args, "--isolation", "process", "--n", "64"],
      { detached: true, stdio: ["ignore", "ignore", "pipe"] },
    );
    let stderr = "";
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    const closed = once(child, "close");
    const started = () =>
      readdirSync("/proc").some((pid) => {
        try {
          return (
            readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("kraken-worker") &&
            new RegExp(`\\) . ${child.pid} `).test(readFileSync(`/proc/${pid}/stat`, "utf8"))
          );
        } catch {
          return false;
        }
      });
    while (!started() && child.exitCode === null) await sleep(10);
    process.kill(-child.pid!, "SIGINT");
    const [code] = await closed;
    assert.equal(code, 130, stderr);
    assert.equal(stderr, "interrupted (SIGINT)\n");
  });
});
