/** kraken bench as a process: tiny models, so its figures mean nothing, but all of it runs. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { planGrid } from "../../lib/bench/grid.js";
import type { Analysis, BenchRecord, ThroughputRecord } from "../../lib/bench/index.js";
import { resolveBench } from "../../lib/bench/options.js";
import { buildEngine } from "../../lib/index.js";

const root = join(import.meta.dirname, "..", "..");
const work = mkdtempSync(join(tmpdir(), "kraken-bench-test-"));
after(() => rmSync(work, { recursive: true, force: true }));
const at = (name: string) => join(work, name);

const start = (args: string[]) =>
  spawn(process.execPath, ["--import", "tsx", join("lib", "cli", "main.ts"), "bench", ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: work },
  });

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function end(child: ReturnType<typeof start>): Promise<Ended> {
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

const bench = (...args: string[]) => end(start(args));
const tiny = [
  "--models",
  "gpt-tiny,parallel-tiny,ladder-tiny,kraken-tiny-2way",
  "--repeat",
  "3",
  "--max-repeat",
  "4",
];
const read = <T = BenchRecord & Analysis>(path: string): T => JSON.parse(readFileSync(path, "utf8"));

/** Whatever a run leaves behind. */
const leftovers = () => readdirSync(work).filter((name) => name.startsWith("kraken-bench-"));

describe("kraken bench ttft", () => {
  test("a grid from beginning to end", async () => {
    const files = ["--json", at("grid.json"), "--html", at("grid.html"), "--csv", at("grid.csv")];
    const ran = await bench(
      "ttft",
      ...tiny,
      "--context",
      "16,48",
      "--output-tokens",
      "4",
      "--warmup",
      "1",
      ...files,
    );
    assert.equal(ran.code, 0, ran.stderr);
    assert.equal(ran.stderr, "");
    assert.deepEqual(leftovers(), []);
    const { cells, results, rows, complete, environment } = read(at("grid.json"));
    assert.ok(complete);
    assert.deepEqual(
      cells.map(({ context, batch, ranks }) => [context, batch, ranks]),
      [
        [16, 1, 2],
        [48, 1, 2],
      ],
    );
    for (const { variants, rounds } of cells) {
      assert.deepEqual(variants.map(({ role }) => role).sort(), [
        ...new Array(4).fill("bound"),
        ...new Array(4).fill("main"),
        ...new Array(4).fill("one-rank"),
      ]);
      for (const { label, role, prefill, decode, check, failure, config } of variants) {
        assert.equal(failure, undefined, label);
        assert.equal(prefill!.samplesMs.length, rounds);
        assert.equal(decode!.samplesMs.length, rounds);
        assert.ok(prefill!.samplesMs.every((ms, i) => ms > 0 && prefill!.engineMs[i]! > 0));
        if (role === "bound") assert.deepEqual([check, prefill!.exchanges], [undefined, 0]);
        else assert.ok(check!.relativeError < check!.tolerance);
        // Of three layers: two all-reduces each, one each, or Kraken's two and the conjunction.
        if (role === "main")
          assert.equal(prefill!.exchanges, /gpt|ladder/.test(config.architecture) ? 6 : 3, label);
      }
    }
    assert.equal(rows.length, 2 * 8);
    assert.deepEqual(
      results[0]!.entries.map(({ label }) => label),
      ["gpt-tiny", "parallel-tiny", "ladder-tiny", "kraken-tiny-2way"],
    );
    assert.equal(typeof (environment.clock as { stepNs: number }).stepNs, "number");
    assert.match(ran.stdout, /^kraken-tiny-2way +[\d.]+ ms/m);
    assert.match(
      ran.stdout,
      /Findings\n- given, bfloat16, 2 ranks, context 16, batch 1: kraken-tiny-2way (is|and) /,
    );
    assert.equal(readFileSync(at("grid.csv"), "utf8").trimEnd().split("\r\n").length, 1 + 2 * 12);
  });

  test("a slow link is waited for, and said", async () => {
    const link = ["--link", "1Gbit,2ms", "--context", "16", "--json", at("link.json")];
    const ran = await bench(
      "ttft",
      "--models",
      "gpt-tiny,kraken-tiny-2way",
      "--repeat",
      "7",
      "--max-repeat",
      "7",
      ...link,
    );
    assert.equal(ran.code, 0, ran.stderr);
    const [standard, kraken] = read(at("link.json")).results[0]!.entries;
    // Six times two milliseconds that nothing hides, and three that attention hardly does.
    assert.ok(standard!.main!.time.median > 12 && standard!.bound!.time.median < 6);
    assert.ok(kraken!.main!.time.median > 6 && kraken!.main!.time.median < standard!.main!.time.median);
    assert.ok(standard!.main!.perLayer!.exposedMs > 3.9);
    assert.match(ran.stdout, /link 1Gbit,2ms/);
  });

  test("Ctrl-C writes what there is, --resume goes on", async () => {
    const args = ["ttft", ...tiny, "--context", "16,32,64", "--max-seconds", "60", "--json", at("part.json")];
    const long = ["--interval", "0.0001%", "--repeat", "60", "--max-repeat", "60"];
    const child = start([...args, ...long]);
    const ending = end(child);
    while (!existsSync(at("part.json"))) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill("SIGINT");
    const ran = await ending;
    assert.equal(ran.code, 130);
    assert.match(ran.stderr, /^interrupted \(SIGINT\): \d cells? done; go on with --resume\n$/);
    assert.match(ran.stdout, /^Incomplete: the run was interrupted/m);
    assert.deepEqual(leftovers(), []);
    const part = read(at("part.json"));
    assert.equal(part.complete, false);
    const finished = part.cells.filter(({ stopped }) => stopped !== "interrupted");
    assert.ok(finished.length >= 1 && finished.length < 3);

    const resumed = await bench(...args, ...long, "--resume");
    assert.equal(resumed.code, 0, resumed.stderr);
    const whole = read(at("part.json"));
    assert.ok(whole.complete);
    assert.deepEqual(
      whole.cells.map(({ context }) => context),
      [16, 32, 64],
    );
    assert.deepEqual(whole.cells.slice(0, finished.length), finished);
  });

  test("compare: a run with itself is noise", async () => {
    const { code, stdout } = await bench("compare", at("grid.json"), at("grid.json"));
    assert.equal(code, 0);
    assert.match(stdout, /^Noise: /m);
  });
});

test("kraken bench latency", async () => {
  const args = [
    "--models",
    "gpt-tiny,kraken-tiny-2way",
    "--batch",
    "1,3",
    "--context",
    "8",
    "--output-tokens",
    "6",
  ];
  const ran = await bench(
    "latency",
    ...args,
    "--repeat",
    "2",
    "--max-repeat",
    "2",
    "--json",
    at("latency.json"),
  );
  assert.equal(ran.code, 0, ran.stderr);
  const { cells, phase, rows } = read(at("latency.json"));
  assert.deepEqual([phase, rows, cells.map(({ batch }) => batch)], ["decode", [], [1, 3]]);
  for (const { prefill, decode } of cells.flatMap(({ variants }) => variants)) {
    assert.equal(prefill, undefined);
    assert.ok(decode!.samplesMs.every((ms) => ms > 0));
  }
});

test("kraken bench throughput", async () => {
  const args = [
    "--models",
    "gpt-tiny,kraken-tiny-2way",
    "--requests",
    "12",
    "--rate",
    "100,inf",
    "--arrival",
    "fixed",
  ];
  const goodput = ["--goodput", "ttft:10000,tpot:10000", "--context", "8", "--output-tokens", "4"];
  const ran = await bench(
    "throughput",
    ...args,
    ...goodput,
    "--json",
    at("throughput.json"),
    "--html",
    at("throughput.html"),
  );
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(ran.stderr, "");
  const { runs, complete } = read<ThroughputRecord>(at("throughput.json"));
  assert.ok(complete);
  assert.deepEqual(
    runs.map(({ label, rate }) => [label, rate]),
    [
      ["gpt-tiny", 100],
      ["gpt-tiny", null],
      ["kraken-tiny-2way", 100],
      ["kraken-tiny-2way", null],
    ],
  );
  for (const { requests, errors, seconds } of runs) {
    assert.deepEqual([requests.length, errors], [12, []]);
    assert.ok(seconds > 0);
    for (const { promptTokens, outputTokens, ttftMs, endToEndMs, interTokenMs } of requests) {
      assert.deepEqual([promptTokens, outputTokens, interTokenMs.length], [8, 4, 3]);
      assert.ok(ttftMs > 0 && endToEndMs >= ttftMs);
    }
  }
  assert.match(ran.stdout, /^kraken-tiny-2way +2 +100\/s .* 100\.0 %$/m);
});

test("kraken bench throughput over hosts: ranks are processes, and each model is checked there", {
  skip: process.platform === "linux" ? false : "ranks on hosts are Linux's",
}, async () => {
  // The second host is this machine by another address.
  const agent = at("agent");
  writeFileSync(agent, '#!/bin/sh\nshift\necho started >>"$0.log"\nexec "$@"\n', { mode: 0o755 });
  const ran = await bench(
    ...["throughput", "--models", "gpt-tiny,kraken-tiny-2way", "--hosts", "127.0.0.1,127.0.0.2"],
    ...[
      "--launch-agent",
      agent,
      "--requests",
      "6",
      "--context",
      "16",
      "--output-tokens",
      "3",
      "--threads",
      "2",
    ],
    ...["--json", at("hosts.json"), "--markdown"],
  );
  assert.equal(ran.code, 0, ran.stderr);
  const { runs, settings } = read<ThroughputRecord>(at("hosts.json"));
  assert.equal(settings.hosts, "127.0.0.1,127.0.0.2");
  assert.deepEqual(
    runs.map(({ failure, ranks, requests, check }) => [failure, ranks, requests.length, check !== undefined]),
    [
      [undefined, 2, 6, true],
      [undefined, 2, 6, true],
    ],
  );
  assert.match(ran.stdout, /Ranks are processes on hosts 127\.0\.0\.1,127\.0\.0\.2, which speak TCP/);
  // For each model, the engine that was checked and the one that served.
  assert.equal(readFileSync(`${agent}.log`, "utf8").match(/started/g)?.length, 4);
  assert.deepEqual(leftovers(), []);
});

describe("what cannot be run, before anything is timed", () => {
  const engine = at("engine");
  before(() => buildEngine({ random: "kraken-tiny-2way", output: engine, ranks: 2, dtype: "float32" }));

  const refused = (options: Parameters<typeof resolveBench>[1], code: string, message: RegExp) =>
    assert.rejects(planGrid(resolveBench("prefill", options)), { code, message });

  test("ranks that do not divide", async () => {
    await refused({ models: ["kraken-tiny-2way"], ranks: [3] }, "ERR_RANKS", /ways.*\(2\): got 3/);
    await refused({ models: ["gpt-tiny"], ranks: [3] }, "ERR_RANKS", /got 3/);
  });

  test("a context over the maximum", async () => {
    await refused(
      { models: ["gpt-tiny"], context: [8, 129] },
      "ERR_CONTEXT_LENGTH",
      /129 .* too long .* at most 128/,
    );
    // An engine's positions are learned: what follows the prompt needs some, too.
    await refused({ models: [engine], context: [128] }, "ERR_CONTEXT_LENGTH", /at most 127/);
  });

  test("an engine built for fewer ranks, another dtype or backend", async () => {
    await refused(
      { models: [engine], ranks: [4] },
      "ERR_RANKS",
      /built for 2 ranks and cannot run on 4: rebuild/,
    );
    await refused({ models: [engine], dtype: ["bfloat16"] }, "ERR_OPTION", /holds float32 weights/);
    await refused(
      { models: [engine], backend: "tensorrt" },
      "ERR_OPTION",
      /is for backend cpu, not tensorrt/,
    );
  });

  test("more than memory holds", async () => {
    await refused(
      { models: ["paper:175b"], ranks: [8] },
      "ERR_OUT_OF_MEMORY",
      /needs about \d+.* GB for 12 engines/,
    );
  });

  test("an engine's own ranks and dtype are the default, and it is timed beside others", async () => {
    const { list } = await planGrid(resolveBench("prefill", { models: [engine, "gpt-tiny"], context: [16] }));
    assert.deepEqual(
      list.map(({ ranks, dtype, baseline }) => [ranks, dtype, baseline]),
      [[2, "float32", "gpt-tiny"]],
    );
    const ran = await bench(
      "ttft",
      "--models",
      `${engine},gpt-tiny`,
      "--context",
      "16",
      "--repeat",
      "2",
      "--max-repeat",
      "2",
      "--json",
    );
    const { cells } = JSON.parse(ran.stdout) as BenchRecord;
    assert.equal(ran.code, 0);
    assert.ok(cells[0]!.variants.every(({ failure }) => failure === undefined));
  });
});
