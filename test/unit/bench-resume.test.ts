/** Files of earlier runs: what is accepted, what is said of the rest, and what of it is kept. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { BenchRecord } from "../../lib/bench/document.js";
import { resolveBench } from "../../lib/bench/options.js";
import { earlierCells, parseBench, readBench } from "../../lib/bench/resume.js";
import { benchRecord, cellRecord, phaseRecord, variant } from "../helpers/bench-records.js";

const good = () =>
  benchRecord([
    cellRecord([variant("standard", "main", phaseRecord([1, 2]))]),
    cellRecord([variant("standard", "main", phaseRecord([3, 4]))], { context: 7, stopped: "interrupted" }),
  ]);

/** A record with one thing changed, as JSON would give it. */
function spoilt(change: (record: BenchRecord & Record<string, unknown>) => void): unknown {
  const record = structuredClone(good());
  change(record as BenchRecord & Record<string, unknown>);
  return JSON.parse(JSON.stringify(record));
}

describe("reading", () => {
  test("what was written", () => {
    const json = JSON.parse(JSON.stringify(good()));
    assert.deepEqual(parseBench(json, "a.json"), good());
  });

  const cases: [string, unknown, RegExp][] = [
    ["no object", [], /`a\.json` must be an object/],
    [
      "another format",
      spoilt((r) => Object.assign(r, { format: "x" })),
      /not written by kraken bench: its `format` is 'x'/,
    ],
    [
      "an older version",
      spoilt((r) => Object.assign(r, { formatVersion: 0 })),
      /format version 0, this is version 1: measure again/,
    ],
    [
      "no settings",
      spoilt((r) => Object.assign(r, { settings: null })),
      /`a\.json: settings` must be an object/,
    ],
    [
      "no processor",
      spoilt((r) => Object.assign(r.environment, { cpu: 3 })),
      /environment\.cpu` must be an object/,
    ],
    [
      "cells that are none",
      spoilt((r) => Object.assign(r, { cells: 3 })),
      /`a\.json: cells` must be a list, got 3/,
    ],
    [
      "a cell without ranks",
      spoilt((r) => Object.assign(r.cells[1]!, { ranks: "2" })),
      /cells\[1\]\.ranks` must be a number, got '2'/,
    ],
    [
      "a variant without a label",
      spoilt((r) => Object.assign(r.cells[0]!.variants[0]!, { label: 1 })),
      /variants\[0\]\.label` must be a string/,
    ],
    [
      "samples that are missing",
      spoilt((r) => r.cells[0]!.variants[0]!.prefill!.engineMs.pop()),
      /engineMs` has 1 samples of 2 rounds/,
    ],
    [
      "samples that are none",
      spoilt((r) => Object.assign(r.cells[0]!.variants[0]!.prefill!, { samplesMs: [1, "2"] })),
      /samplesMs` must be finite numbers, got '2'/,
    ],
  ];
  for (const [name, json, message] of cases) {
    test(name, () => assert.throws(() => parseBench(json, "a.json"), { code: "ERR_OPTION", message }));
  }
});

describe("going on", () => {
  const settings = resolveBench("prefill", { threads: 2 });
  const { environment } = good();

  async function file(t: { after(work: () => Promise<void>): void }, text: string): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), "kraken-resume-"));
    t.after(() => rm(directory, { recursive: true }));
    const path = join(directory, "results.json");
    await writeFile(path, text);
    return path;
  }

  test("keeps cells that were finished", async (t) => {
    const path = await file(t, JSON.stringify(good()));
    const cells = await earlierCells(path, "prefill", settings, environment);
    assert.deepEqual(
      cells.map(({ context }) => context),
      [128],
    );
  });

  test("begins where there is no file", async (t) => {
    const path = `${await file(t, "")}.other`;
    assert.deepEqual(await earlierCells(path, "prefill", settings, environment), []);
    await assert.rejects(readBench(path), { code: "ERR_IO", message: /no such file/ });
  });

  test("refuses other settings, machines, versions and subjects, and what is no JSON", async (t) => {
    const path = await file(t, JSON.stringify(good()));
    const seed = { ...settings, seed: 1 };
    await assert.rejects(earlierCells(path, "prefill", seed, environment), {
      code: "ERR_OPTION",
      message: /cannot be resumed: its `seed` was 0 and is 1; give the same options, or another file/,
    });
    const cpu = { model: "Other", usable: 2 };
    await assert.rejects(earlierCells(path, "prefill", settings, { ...environment, cpu }), {
      message: /its processor was 'Test CPU' and is 'Other'/,
    });
    await assert.rejects(earlierCells(path, "prefill", settings, { ...environment, version: "2" }), {
      message: /its version of kraken-engine was '1\.2\.3'/,
    });
    await assert.rejects(earlierCells(path, "decode", settings, environment), { message: /its subject was/ });
    const cut = await file(t, JSON.stringify(good()).slice(0, 100));
    await assert.rejects(earlierCells(cut, "prefill", settings, environment), {
      code: "ERR_OPTION",
      message: /is not JSON/,
    });
  });
});
