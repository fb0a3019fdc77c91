/** kraken plan: its tables, its documents, and what it says of a wrong command line. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { predictTtft } from "../../lib/plan/cost-model.js";
import { hardwarePreset } from "../../lib/plan/hardware.js";
import { kraken } from "./cli-harness.js";

/** A file of this test's own. */
async function file(t: { after(work: () => Promise<void>): void }, value: unknown): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "kraken-plan-"));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, "file.json");
  await writeFile(path, JSON.stringify(value));
  return path;
}

const box = {
  name: "box",
  compute: "1 TFLOP/s",
  memoryBandwidth: "50 GB/s",
  memory: "100 MB",
  link: { bandwidth: "10 Gbit/s", latency: "20 us" },
};

describe("the paper's cells", () => {
  test("as a table, beside what was published", async () => {
    const { code, stdout, stderr } = await kraken(["plan"]);
    assert.equal(code, 0);
    assert.equal(stderr, "");
    assert.match(stdout, /^Time to first token, predicted: A100 40 GB SXM, NVLink\n/);
    assert.equal(stdout.match(/^(1\.3b|6\.7b|13b|65b|175b) /gm)?.length, 20);
    assert.match(stdout, /^1\.3b +4 +128 +0\.99 ms +60\.9 % +43\.8 % .* 102\.9 % /m);
    assert.match(stdout, /^mean +all +18\.8 % .* 38\.2 % /m);
    assert.match(
      stdout,
      /predicted 38\.2 % \(5\.8 % to 118\.7 %\); published 35\.6 % \(10\.9 % to 63\.7 %\)/,
    );
    assert.match(
      stdout,
      /\nAssumptions:\n {2}each device: 312 TFLOP\/s .*peak rates, so these are ceilings\n/,
    );
  });

  test("on a narrow terminal: no wider than it has to be", async () => {
    const { stdout } = await kraken(["plan"], { terminal: true });
    const table = stdout.split("\n").filter((line) => /^(size|mean|[\d.]+b) /.test(line));
    assert.ok(Math.max(...table.map((line) => line.length)) <= 100);
  });

  test("--json", async () => {
    const document = JSON.parse((await kraken(["plan", "--json"])).stdout);
    assert.equal(document.cells.length, 20);
    assert.equal(document.published.geometricMean, 0.356);
    assert.equal(Math.round(100 * document.means.at(-1).speedUp.kraken), 38);
    assert.equal(document.hardware.flopsPerSecond, 312e12);
    const [{ size, ranks, predictions }] = document.cells;
    assert.deepEqual([size, ranks], ["1.3b", 4]);
    assert.deepEqual(Object.keys(predictions), [
      "gpt",
      "parallel",
      "ladder",
      "kraken",
      "gptBound",
      "krakenBound",
    ]);
    assert.ok(document.assumptions.length > 3);
  });

  test("--markdown", async () => {
    const { stdout } = await kraken(["plan", "--markdown"]);
    assert.equal(stdout.match(/^\| (1\.3b|6\.7b|13b|65b|175b) /gm)?.length, 20);
    assert.match(stdout, /^\| size \| ranks .*\n\| --- \| --: /m);
    assert.match(stdout, /^- link: NVLink, 300 GB\/s /m);
    const page = await readFile(new URL("../../docs/plan.md", import.meta.url), "utf8");
    assert.ok(page.includes(stdout), "docs/plan.md has another table");
  });
});

describe("other cells", () => {
  test("models, ranks, contexts and a link", async () => {
    const args = ["--models", "paper:1.3b,13B", "--tp", "2", "--context", "512", "--link", "10Gbit,20us"];
    const { stdout } = await kraken(["plan", ...args, "--json"]);
    const { cells, hardware, published } = JSON.parse(stdout);
    assert.deepEqual(
      cells.map((cell: { size: string; ranks: number }) => [cell.size, cell.ranks]),
      [
        ["1.3b", 2],
        ["13b", 2],
      ],
    );
    assert.deepEqual(hardware.link, { name: "10Gbit,20us", bytesPerSecond: 1.25e9, latencySeconds: 20e-6 });
    assert.equal(published, undefined);
  });

  test("sizes of one's own, hardware of one's own, efficiencies and latency", async (t) => {
    const path = await file(t, box);
    const args = ["--layers", "2", "--width", "256", "--ranks", "2", "--context", "64", "--dtype", "float32"];
    const more = [
      "--hardware",
      path,
      "--latency",
      "1ms",
      "--efficiency",
      "flop=0.5,hbm=0.25",
      "--batch",
      "3",
    ];
    const { stdout } = await kraken([
      "plan",
      ...args,
      ...more,
      "--logits-head",
      "--vocab-size",
      "1000",
      "--json",
    ]);
    const { cells, efficiencies, hardware } = JSON.parse(stdout);
    assert.deepEqual(efficiencies, { flop: 0.5, link: 1, hbm: 0.25 });
    assert.equal(hardware.link.latencySeconds, 1e-3);
    assert.equal(cells[0].size, "2 x 256");
    const expected = predictTtft({
      architecture: "gpt",
      layers: 2,
      hiddenSize: 256,
      ranks: 2,
      contextLength: 64,
      batch: 3,
      dtypeBytes: 4,
      vocabSize: 1000,
      hardware,
      efficiencies,
    });
    assert.deepEqual(cells[0].predictions.gpt, expected);
  });

  test("--ways: one Kraken on fewer ranks", async () => {
    const { stdout } = await kraken([
      "plan",
      "--models",
      "1.3b",
      "--ways",
      "4",
      "--ranks",
      "1,2,4",
      "--json",
    ]);
    const { cells } = JSON.parse(stdout);
    for (const { krakenWidth, ways } of cells) assert.deepEqual([krakenWidth, ways], [1280, 4]);
    assert.equal(cells[0].ranks, 1);
    assert.equal(cells[0].allReduceShare, 0);
  });

  test("--break-even", async () => {
    const { stdout } = await kraken(["plan", "--break-even", "--models", "1.3b,13b", "--ranks", "4"]);
    assert.match(stdout, /^size +ranks +context +Kraken +below bandwidth +above latency$/m);
    assert.match(stdout, /^1\.3b +4 +128 +102\.9 % +always +always$/m);
    assert.match(stdout, /^13b +4 +2,048 +15\.9 % +[\d.]+ TB\/s +always$/m);
    const json = await kraken(["plan", "--break-even", "--models", "13b", "--ranks", "4", "--json"]);
    const { breakEven } = JSON.parse(json.stdout);
    assert.deepEqual(breakEven[0].bandwidth, { wins: "always" });
    assert.equal(breakEven[1].bandwidth.wins, "beyond");
    assert.ok(breakEven[1].bandwidth.at > 300e9);
  });

  test("--calibrate", async (t) => {
    const hardware = hardwarePreset("h100-sxm");
    const efficiencies = { flop: 0.5, link: 0.4, hbm: 0.7 };
    const rows = [16, 4096].flatMap((context) =>
      [1, 4].map((ranks) => {
        const config = { layers: 8, hiddenSize: 2048 };
        const question = { architecture: "gpt" as const, ...config, ranks, contextLength: context };
        const { ttftMs } = predictTtft({ ...question, hardware, efficiencies });
        return { architecture: "gpt", config, ranks, context, medianMs: ttftMs };
      }),
    );
    const path = await file(t, { rows });
    const args = ["plan", "--hardware", "h100-sxm", "--calibrate", path];
    const { calibration, ...document } = JSON.parse((await kraken([...args, "--json"])).stdout);
    for (const key of ["flop", "link", "hbm"] as const) {
      assert.ok(Math.abs(calibration.efficiencies[key] / efficiencies[key] - 1) < 0.02);
    }
    assert.deepEqual(document.efficiencies, calibration.efficiencies);
    const { stdout } = await kraken(args);
    assert.match(stdout, /^arithmetic +(49|50)\.\d %$/m);
    assert.match(stdout, /^Fitted to 4 rows; typical error 0\.\d %\.$/m);
  });
});

describe("a Kraken to train", () => {
  test("in words", async () => {
    const { stdout } = await kraken(["plan", "--target-params", "1.3e9", "--ranks", "8"]);
    assert.match(stdout, /^24 +896 +14 of 64 +1,287,603,072 \(-1\.0 %\) /m);
    assert.match(stdout, /^The first: Kraken, 8 ways, 24 layers, 1\.29 billion parameters/m);
    assert.match(stdout, /one full context fit the memory of A100/);
  });

  test("that does not fit", async (t) => {
    const args = ["plan", "--target-params", "1.3e9", "--ranks", "8", "--hardware", await file(t, box)];
    assert.match((await kraken(args)).stdout, /one full context do not fit the memory of box/);
  });

  test("--json", async () => {
    const args = ["--target-params", "1.3e9", "--ranks", "4", "--ways", "8", "--context", "1024", "--json"];
    const { designs, ranks } = JSON.parse((await kraken(["plan", ...args])).stdout);
    assert.equal(ranks, 4);
    assert.equal(designs[0].config.ways, 8);
    assert.equal(designs[0].perRank.kvBytes, 1024 * designs[0].perRank.kvBytesPerToken);
  });
});
