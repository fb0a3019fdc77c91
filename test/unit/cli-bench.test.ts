/** kraken bench: flags, outputs, interruption, and what is said of a wrong command line. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { BenchRecord } from "../../lib/bench/document.js";
import * as bench from "../../lib/bench/index.js";
import { Interrupted } from "../../lib/cli/failure.js";
import { benchRecord, cellRecord, phaseRecord, variant } from "../helpers/bench-records.js";
import { kraken, type World } from "./cli-harness.js";

async function directory(t: { after(work: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "kraken-bench-"));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

const record = benchRecord([
  cellRecord([
    variant("standard", "main", phaseRecord([20, 20])),
    variant("Kraken", "main", phaseRecord([16, 16])),
  ]),
]);

/** A library that measures nothing: what it was asked, and the record it gives. */
function fakeBench(result: BenchRecord = record) {
  const asked: { phase?: string; options?: unknown; settings?: unknown; earlier?: unknown } = {};
  const library = {
    ...bench,
    resolveBench(phase: bench.Phase, options: bench.BenchOptions) {
      Object.assign(asked, { phase, options: JSON.parse(JSON.stringify(options)) });
      return bench.resolveBench(phase, options);
    },
    planGrid: async (settings: bench.Settings) => ({ settings, list: [] }),
    async runGrid(plan: bench.GridPlan, options: bench.RunOptions) {
      Object.assign(asked, { settings: plan.settings, earlier: options.earlier });
      await options.onCell?.({ ...result, complete: false });
      return { ...result, settings: plan.settings, environment: options.environment };
    },
  };
  const world: World = { library: { bench: async () => library } };
  return { asked, world };
}

describe("the command line", () => {
  test("becomes options", async () => {
    const { asked, world } = fakeBench();
    const flags =
      "--models paper:125m,gpt-tiny --architectures standard,kraken --tp 2,4 --context 128,1024 --batch 1,4 --dtype bf16,fp32 " +
      "--backend trt --link 10Gbit,20us --threads 8 --ways 4 --layers-fraction 0.25 --repeat 5 --max-repeat 50 " +
      "--max-seconds 9 --interval 3% --warmup 1 --seed 7 --output-tokens 4";
    const { code } = await kraken(["bench", "ttft", ...flags.split(" ")], world);
    assert.equal(code, 0);
    assert.equal(asked.phase, "prefill");
    assert.deepEqual(asked.options, {
      models: ["paper:125m", "gpt-tiny"],
      architectures: ["gpt", "kraken"],
      ranks: [2, 4],
      context: [128, 1024],
      batch: [1, 4],
      dtype: ["bfloat16", "float32"],
      backend: "tensorrt",
      link: "10Gbit,20us",
      threads: 8,
      ways: 4,
      layersFraction: 0.25,
      repeat: 5,
      maxRepeat: 50,
      maxSeconds: 9,
      interval: 0.03,
      warmup: 1,
      seed: 7,
      outputTokens: 4,
    });
  });

  test("bench latency decodes, over several batch sizes", async () => {
    const { asked, world } = fakeBench({ ...record, phase: "decode", cells: [] });
    assert.equal((await kraken(["bench", "latency"], world)).code, 0);
    assert.equal(asked.phase, "decode");
    const { batch, outputTokens } = asked.settings as bench.Settings;
    assert.deepEqual([batch, outputTokens], [[1, 2, 4, 8], 32]);
  });

  const wrong: [string, RegExp][] = [
    ["", /^Usage: kraken bench .*\n {2}ttft .*\n {2}latency .*\n {2}throughput .*\n {2}compare /s],
    ["tft", /unknown command 'tft'\n\(Did you mean ttft\?\)/],
    ["ttft --json --csv", /--json and --csv cannot both go to stdout/],
    ["ttft --resume", /--resume needs --json FILE/],
    ["ttft --resume --json", /--resume needs --json FILE/],
    ["ttft --interval x", /It must be a share, as in 5%/],
    ["ttft --interval 300%", /--interval must be a number over 0 and at most 1, got 3/],
    ["ttft --repeat 1", /--repeat must be an integer from 2 to 100000, got 1/],
    ["ttft --repeat 9 --max-repeat 8", /--max-repeat must be an integer from 9/],
    ["ttft --link fast", /--link must be "none", or a bandwidth and a latency/],
    ["ttft --dtype int4", /float32 or bfloat16 or float16 or int8/],
    ["ttft --architectures gtp", /Did you mean gpt/],
    ["ttft --seed -1", /--seed must be an integer from 0/],
    ["latency --output-tokens 1", /--output-tokens must be an integer from 2/],
    ["throughput --rate 0", /It must be over 0, or inf/],
    ["throughput --context 1,2", /bench throughput takes one --context/],
    ["throughput --hosts a,b --link 1Gbit,1ms", /--link must be left out: hosts have a link of their own/],
    ["throughput --hosts a,b --ranks 4", /--ranks must be 2, as many as/],
    ["throughput --launch-agent rsh", /--launch-agent.* is of use only with/],
    ["throughput --goodput speed:3", /--goodput must be milliseconds after ttft, tpot, e2el/],
    ["compare one.json", /missing required argument 'after'/],
  ];
  for (const [args, message] of wrong) {
    test(`kraken bench ${args}`, async () => {
      const { code, stderr } = await kraken(["bench", ...args.split(" ").filter(Boolean)]);
      // --json on stdout has the error there.
      const { stdout } = stderr === "" ? await kraken(["bench", ...args.split(" ")]) : { stdout: "" };
      assert.equal(code, 2);
      assert.match(stderr || JSON.parse(stdout).error.message, message);
    });
  }

  test("help", async () => {
    for (const name of ["ttft", "latency", "throughput", "compare"]) {
      const { code, stdout } = await kraken(["bench", name, "--help"]);
      assert.equal(code, 0);
      assert.match(stdout, new RegExp(`^Usage: kraken bench ${name}`));
      assert.ok(Math.max(...stdout.split("\n").map((line) => line.length)) <= 120);
    }
    assert.match(
      (await kraken(["bench", "--help"])).stdout,
      /^ {2}ttft .*\n {2}latency .*\n {2}throughput /m,
    );
  });
});

describe("outputs", () => {
  test("a table; with files, they too", async (t) => {
    const root = await directory(t);
    const at = (name: string) => join(root, name);
    const { world } = fakeBench();
    const files = [
      "--json",
      at("a.json"),
      "--csv",
      at("a.csv"),
      "--markdown",
      at("a.md"),
      "--html",
      at("a.html"),
    ];
    const { code, stdout, stderr } = await kraken(["bench", "ttft", ...files], world);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /^Kraken +16\.0 ms .*\+25\.0 %/m);
    const document = JSON.parse(await readFile(at("a.json"), "utf8"));
    assert.deepEqual(document.cells[0].variants[0].prefill.samplesMs, [20, 20]);
    assert.equal(document.results[0].entries[1].main.speedUp.estimate, 1.25);
    assert.equal(document.rows.length, 2);
    assert.equal(document.environment.cpu.usable > 0, true);
    assert.ok(document.findings[0].includes("Kraken is faster than standard"));
    assert.match(await readFile(at("a.csv"), "utf8"), /^comparison,dtype,/);
    assert.match(await readFile(at("a.md"), "utf8"), /^# Time to first token, measured\n/);
    assert.match(await readFile(at("a.html"), "utf8"), /<svg /);
  });

  test("--json alone is one document on stdout", async () => {
    const { code, stdout, stderr } = await kraken(["bench", "ttft", "--json"], fakeBench().world);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.equal(JSON.parse(stdout).format, "kraken-bench");
  });

  test("a directory that does not exist, before anything is timed", async (t) => {
    const { asked, world } = fakeBench();
    const path = join(await directory(t), "no", "a.html");
    const { code, stderr } = await kraken(["bench", "ttft", "--html", path], world);
    assert.equal(code, 1);
    assert.match(stderr, /cannot write .*a\.html: no such file or directory.*\ncode: ERR_IO/);
    assert.equal(asked.earlier, undefined);
  });

  test("a failure with --json FILE is said on stderr", async (t) => {
    const path = join(await directory(t), "a.json");
    const ran = await kraken(["bench", "ttft", "--repeat", "1", "--json", path]);
    assert.equal(ran.stdout, "");
    assert.match(ran.stderr, /code: ERR_OPTION/);
    const other = await kraken(["bench", "ttft", "--json", "--repeat", "1"]);
    assert.equal(JSON.parse(other.stdout).error.code, "ERR_OPTION");
  });
});

describe("interruption", () => {
  test("what there is is written, and the exit code tells", async (t) => {
    const path = join(await directory(t), "a.json");
    const controller = new AbortController();
    controller.abort(new Interrupted("SIGINT", 130));
    const { world } = fakeBench({ ...record, complete: false });
    const ran = await kraken(["bench", "ttft", "--json", path], { ...world, signal: controller.signal });
    assert.equal(ran.code, 130);
    assert.match(ran.stderr, /^interrupted \(SIGINT\): 1 cell done; go on with --resume\n$/);
    assert.match(ran.stdout, /Incomplete: .*--resume/);
    assert.equal(JSON.parse(await readFile(path, "utf8")).complete, false);
  });

  test("--resume passes on what was finished", async (t) => {
    const path = join(await directory(t), "a.json");
    const { asked, world } = fakeBench();
    assert.equal((await kraken(["bench", "ttft", "--json", path], world)).code, 0);
    assert.deepEqual(asked.earlier, []);
    assert.equal((await kraken(["bench", "ttft", "--json", path, "--resume"], world)).code, 0);
    assert.deepEqual(asked.earlier, record.cells);
    const ran = await kraken(["bench", "ttft", "--json", path, "--resume", "--seed", "1"], world);
    assert.equal(ran.code, 2);
    assert.match(ran.stderr, /cannot be resumed: its --seed was 0 and is 1/);
  });
});

describe("kraken bench compare", () => {
  async function twoFiles(root: string, before: BenchRecord, after: BenchRecord): Promise<string[]> {
    const paths = [join(root, "before.json"), join(root, "after.json")];
    await writeFile(paths[0]!, JSON.stringify(before));
    await writeFile(paths[1]!, JSON.stringify(after));
    return paths;
  }
  const changed = structuredClone(record);
  changed.cells[0]!.variants[1]!.prefill = phaseRecord([12, 12]);

  test("says noise", async (t) => {
    const paths = await twoFiles(await directory(t), record, record);
    const { code, stdout } = await kraken(["bench", "compare", ...paths]);
    assert.equal(code, 0);
    assert.match(stdout, /^Noise: no interval lies beyond 5\.0 %\.$/m);
    assert.match(stdout, /^Kraken +16\.0 ms +16\.0 ms +0\.0 % .* noise$/m);
  });

  test("says what changed", async (t) => {
    const paths = await twoFiles(await directory(t), record, changed);
    const { stdout } = await kraken(["bench", "compare", ...paths]);
    assert.match(stdout, /^Changed: speed-ups 0 slower, 1 faster; times 0 slower, 1 faster\.$/m);
    assert.match(stdout, /^Kraken, speed-up +\+25\.0 % +\+66\.7 % +\+33\.3 % .* faster$/m);
    const { changes } = JSON.parse((await kraken(["bench", "compare", ...paths, "--json"])).stdout);
    assert.equal(changes.length, 3);
    const forgiven = await kraken(["bench", "compare", ...paths, "--threshold", "50%"]);
    assert.match(forgiven.stdout, /^Noise/m);
    const csv = await kraken(["bench", "compare", ...paths, "--csv"]);
    assert.equal(csv.stdout.trimEnd().split("\r\n").length, 4);
  });

  test("refuses what is no result", async (t) => {
    const root = await directory(t);
    const [good] = await twoFiles(root, record, record);
    const other = join(root, "other.json");
    await writeFile(other, '{"format": "kraken-bench", "formatVersion": 0}');
    const old = await kraken(["bench", "compare", good!, other]);
    assert.equal(old.code, 2);
    assert.match(old.stderr, /format version 0, this is version 1: measure again\ncode: ERR_OPTION/);
    await writeFile(other, '{"format": "kra');
    assert.match((await kraken(["bench", "compare", other, good!])).stderr, /is not JSON/);
  });
});
