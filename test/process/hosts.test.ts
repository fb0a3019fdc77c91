/** Engines whose ranks are processes of their own that speak TCP, here over this machine's loopback interface. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  buildEngine,
  Engine,
  type GenerateOptions,
  type GenerationResult,
  type LoadOptions,
  pushEngine,
} from "../../lib/index.js";
import { buildTiny, runScript } from "../helpers/child.js";
import { failure, noRemoteRanks, remoteRanks, writeAgent } from "../helpers/ranks.js";

const skip = process.platform === "linux" ? false : "processes are looked up in /proc";
const impostor = fileURLToPath(new URL("../helpers/impostor.mjs", import.meta.url));

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-hosts-"));
  engine = join(root, "tiny");
  await buildTiny(engine);
});
after(() => rm(root, { recursive: true, force: true }));

const agent = (name: string, body: string) => writeAgent(root, name, body);

/** The second host is this machine by another address, so it is reached through the agent. */
const hosts = "127.0.0.1:1,127.0.0.2:1";
const load = (options: LoadOptions = {}, directory = engine) =>
  Engine.load(directory, {
    hosts,
    launchAgent: agent("run", 'exec "$@"'),
    threadsPerRank: 1,
    ...options,
  });
const long = { maxTokens: 100, ignoreEos: true, temperature: 0, seed: 1 } as const;

describe("hosts", { skip }, () => {
  test("generate the same as one process, and know as much", async () => {
    await using here = await Engine.load(engine);
    const cases: GenerateOptions[] = [
      long,
      { maxTokens: 30, seed: 7n, temperature: 0.9, topP: 0.9, n: 3 },
      { maxTokens: 20, seed: 1, stopTokens: [3, 4, 5, 6, 7, 8], minTokens: 2 },
    ];
    for (const isolation of ["none", "process"] as const) {
      await using there = await load({ isolation });
      for (const options of cases) {
        const [a, b] = await Promise.all([
          here.generate([1, 2, 3], options),
          there.generate([1, 2, 3], options),
        ]);
        const said = ({ samples, ...first }: GenerationResult) =>
          (samples ?? [first]).map(({ tokens, finishReason }) => [tokens, finishReason]);
        assert.deepEqual(said(b), said(a));
      }
      const [mine, theirs] = await Promise.all([here.logits([5, 6, 7, 8]), there.logits([5, 6, 7, 8])]);
      const squares = (values: Iterable<number>) => [...values].reduce((sum, x) => sum + x * x, 0);
      const difference = squares(mine.data.map((x, i) => x - theirs.data[i]!));
      assert.ok(Math.sqrt(difference / squares(mine.data)) < 1e-6);
      assert.ok((await there.measureBound({ phase: "decode" })) >= 0);
      assert.ok((await there.measureBound({ phase: "prefill", tokens: 32 })) > 0);
      const [ours, others] = [here.stats(), there.stats()];
      assert.equal(others.weightBytes, ours.weightBytes);
      assert.ok(others.exchanges > 0 && others.exposedMs.length === 1);
    }
    await noRemoteRanks();
  });

  for (const [ranksOf, dtype, exchangeDtype] of [
    ["127.0.0.1:2,127.0.0.2:2", "float32", undefined],
    ["127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4", "bfloat16", undefined],
    ["127.0.0.1,127.0.0.2:3", "bfloat16", "float32"],
  ] as const) {
    test(`four ranks on ${ranksOf}, ${dtype}, exchanging ${exchangeDtype ?? "what suits it"}`, async () => {
      const four = join(root, `four-${dtype}`);
      await buildEngine({ random: "kraken-tiny-4way", output: four, ranks: 4, dtype, overwrite: true });
      await using here = await Engine.load(four);
      await using there = await load({ hosts: ranksOf, exchangeDtype }, four);
      const prompt = Array.from({ length: 40 }, (_, i) => i);
      const [mine, theirs] = await Promise.all([here.logits(prompt), there.logits(prompt)]);
      const squares = (values: Iterable<number>) => [...values].reduce((sum, x) => sum + x * x, 0);
      const difference = squares(mine.data.map((x, i) => x - theirs.data[i]!));
      const bound = dtype === "float32" ? 1e-6 : 1e-2;
      assert.ok(Math.sqrt(difference / squares(mine.data)) < bound);
      const runs = await Promise.all(
        Array.from({ length: 16 }, (_, i) => there.generate([i + 1, i + 2], { ...long, maxTokens: 20 })),
      );
      const alone = await there.generate([4, 5], { ...long, maxTokens: 20 });
      assert.deepEqual(runs[3]!.tokens, alone.tokens);
    });
  }

  for (const [signal, within] of [
    ["SIGKILL", 1000],
    ["SIGSTOP", 2000],
  ] as const) {
    test(`${signal} of a rank rejects everything within ${within} ms, and nothing stays`, async () => {
      await using loaded = await load({ maxBatchSize: 1 });
      const [pid, ...more] = remoteRanks();
      assert.deepEqual(more, []);
      const runs = Array.from({ length: 400 }, (_, i) => loaded.generate([(i % 200) + 1], long));
      await runs[0]![Symbol.asyncIterator]().next();
      process.kill(pid!, signal);
      const from = performance.now();
      const errors = await Promise.all(runs.slice(20).map(failure));
      assert.ok(performance.now() - from < within, `${performance.now() - from} ms`);
      assert.ok(errors.every(({ code }) => code === "ERR_RANK_LOST"));
      assert.match(errors[0]!.message, /rank 1 \(127\.0\.0\.2:\d+\)/);
      await Promise.allSettled(runs);
      await noRemoteRanks();
      assert.match((await failure(loaded.generate([1]))).message, /^the engine failed before: /);
    });
  }

  test("an idle engine notices, too", async () => {
    await using loaded = await load();
    process.kill(remoteRanks()[0]!, "SIGKILL");
    await sleep(300);
    assert.equal((await failure(loaded.generate([1], long))).code, "ERR_RANK_LOST");
  });

  for (const how of ["process.exit(3)", 'process.kill(process.pid, "SIGKILL")', "await loaded.dispose()"]) {
    test(`nothing stays after ${how}`, async () => {
      const child = await runScript(
        `const { Engine } = await import(library);
         const loaded = await Engine.load(engine, ${JSON.stringify({ hosts, launchAgent: agent("run", 'exec "$@"') })});
         loaded.generate([1], { maxTokens: 100, ignoreEos: true }).catch(() => {});
         ${how};`,
        { engine },
      );
      assert.ok(child.seconds < 20, child.stderr);
      await noRemoteRanks(3000);
    });
  }

  test("a load that is aborted leaves no process", async () => {
    for (const ms of [1, 20, 60, 150]) {
      const signal = AbortSignal.timeout(ms);
      await load({ signal }).then(
        (loaded) => loaded.dispose(),
        (error: unknown) => assert.equal(error, signal.reason),
      );
    }
    await noRemoteRanks();
  });

  test("an engine that was pushed has there what its ranks need, and no more", async () => {
    const other = join(root, "pushed");
    await mkdir(other);
    process.chdir(root);
    const launchAgent = agent("there", `cd ${other} && exec "$@"`);
    const engine = "/proc/self/cwd/tiny";
    const files = ["config.json", "rank1.engine"];
    const push = (given = launchAgent) => pushEngine(engine, { hosts, launchAgent: given });
    assert.deepEqual(await push(), [{ host: "127.0.0.2", files, written: true }]);
    assert.deepEqual(readdirSync(join(other, "tiny")).sort(), files);
    assert.deepEqual(await push(), [{ host: "127.0.0.2", files, written: false }]);
    // A shared folder: the engine must not replace itself.
    assert.deepEqual(await push(agent("here", 'exec "$@"')), [{ host: "127.0.0.2", files, written: false }]);
    assert.ok(readdirSync(join(root, "tiny")).includes("rank0.engine"));
    await using loaded = await load({ launchAgent }, engine);
    assert.equal((await loaded.generate([1], long)).tokens.length, 100);
    const error = await failure(push(agent("broken", "echo no room >&2; exit 1")));
    assert.equal(error.code, "ERR_HOSTS");
    assert.match(error.message, /tiny could not be put on 127\.0\.0\.2: no room/);
    assert.equal((await failure(pushEngine(engine, { hosts: "a,b,c" }))).code, "ERR_RANKS");
  });

  const secret = "correct horse battery staple";
  const failing: [string, () => Promise<LoadOptions>, string, RegExp][] = [
    [
      "another secret",
      async () => ({ secret, launchAgent: agent("secret", 'echo "incorrect $RANDOM horse" | exec "$@"') }),
      "ERR_HOSTS",
      /rank 1 .* could not be started: .* exit code 2 \(refused: a connection from 127\.0\.0\.1 does not know the secret/,
    ],
    [
      "no secret",
      async () => ({ launchAgent: agent("none", 'exec "$@" < /dev/null') }),
      "ERR_HOSTS",
      /rank 1 .*exit code 1/,
    ],
    [
      "another version",
      async () => ({
        secret,
        launchAgent: agent("other", `shift; exec ${process.execPath} ${impostor} --build old "$@"`),
      }),
      "ERR_NATIVE_LOAD",
      /rank 1 \(127\.0\.0\.2:1\): .*different builds .*build old/,
    ],
    [
      "another engine",
      async () => {
        const other = join(root, "another");
        await mkdir(other);
        await buildEngine({
          random: "kraken-tiny-2way",
          seed: 1,
          output: join(other, "tiny"),
          ranks: 2,
          dtype: "float32",
        });
        return { launchAgent: agent("elsewhere", `cd ${other} && exec "$@"`) };
      },
      "ERR_ENGINE_CORRUPT",
      /rank 1 .*: .* is another engine than rank 0's: .*--push/,
    ],
    [
      "no engine",
      async () => ({ launchAgent: agent("nowhere", 'cd / && exec "$@"') }),
      "ERR_ENGINE_PATH",
      /rank 1 .*config\.json cannot be read: every host needs the engine at the same path/,
    ],
    [
      "a damaged shard",
      async () => {
        const other = join(root, "damaged");
        await cp(engine, join(other, "tiny"), { recursive: true });
        const file = join(other, "tiny", "rank1.engine");
        const bytes = readFileSync(file);
        bytes[bytes.length - 1]! ^= 1;
        writeFileSync(file, bytes);
        return { launchAgent: agent("damage", `cd ${other} && exec "$@"`) };
      },
      "ERR_ENGINE_CORRUPT",
      /rank 1 .*rank1\.engine has changed since it was built/,
    ],
    [
      "a host that does not answer",
      async () => ({ startTimeout: 1, launchAgent: agent("sleep", "exec sleep 60") }),
      "ERR_HOSTS",
      /rank 1 \(127\.0\.0\.2\) has not connected to 127\.0\.0\.1:\d+ within 1000 ms: is the host up/,
    ],
    [
      "a launch that fails",
      async () => ({ launchAgent: agent("fails", "exit 7") }),
      "ERR_HOSTS",
      /rank 1 \(127\.0\.0\.2\) could not be started: fails ended with exit code 7/,
    ],
    [
      "an agent that is not there",
      async () => ({ launchAgent: "/nonexistent/agent" }),
      "ERR_HOSTS",
      /\/nonexistent\/agent could not be started: No such file/,
    ],
    [
      "a first host that is not this one",
      async () => ({ hosts: "192.0.2.1,127.0.0.1" }),
      "ERR_HOSTS",
      /cannot listen on 192\.0\.2\.1 .*must name this machine as the other hosts reach it/,
    ],
    [
      "a host nobody knows",
      async () => ({ hosts: "no.such.host.invalid,127.0.0.1" }),
      "ERR_HOSTS",
      /host no\.such\.host\.invalid is not known/,
    ],
    [
      "places for other ranks than the engine has",
      async () => ({ hosts: "127.0.0.1:1,127.0.0.2:2" }),
      "ERR_RANKS",
      /places for 3 ranks on 2 hosts, but .* has 2: give that many, or build with --ranks 3/,
    ],
  ];
  for (const [what, options, code, message] of failing) {
    test(`${what}: ${code}`, async () => {
      const given = await options();
      const from = performance.now();
      // Every process sees its own working directory's engine.
      process.chdir(root);
      const error = await failure(load(given, "/proc/self/cwd/tiny"));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.ok(performance.now() - from < 3000, `${performance.now() - from} ms`);
      await noRemoteRanks();
    });
  }
});
