/** Hardware by name and from files: units are read, never guessed. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { hardwareNames, hardwarePreset, linkNames, linkOf } from "../../lib/plan/hardware.js";
import { parseHardware, readHardware } from "../../lib/plan/hardware-file.js";
import { parseQuantity } from "../../lib/plan/units.js";

describe("quantities", () => {
  for (const [text, kind, expected] of [
    ["312 TFLOP/s", "compute", 312e12],
    ["1.5 PFLOPS", "compute", 1.5e15],
    ["300 GB/s", "bandwidth", 300e9],
    ["10Gbit/s", "bandwidth", 1.25e9],
    ["10Gbit", "bandwidth", 1.25e9],
    ["1 Mbps", "bandwidth", 125e3],
    ["1 GiB/s", "bandwidth", 2 ** 30],
    ["40 GB", "memory", 40e9],
    ["24 GiB", "memory", 24 * 2 ** 30],
    ["15us", "time", 15e-6],
    ["15 µs", "time", 15e-6],
    ["0 ms", "time", 0],
  ] as const) {
    test(text, () => assert.ok(Math.abs(parseQuantity("x", text, kind) - expected) <= 1e-12 * expected));
  }

  for (const [value, kind] of [
    ["300", "bandwidth"],
    [300, "bandwidth"],
    ["300 GB", "bandwidth"],
    ["300 GHz", "bandwidth"],
    ["300 gb/s", "bandwidth"],
    ["0 GB/s", "bandwidth"],
    ["-1 us", "time"],
    ["1.2.3 GB", "memory"],
    ["312 TB/s", "compute"],
    [undefined, "time"],
  ] as const) {
    test(`${JSON.stringify(value)} is no ${kind}`, () => {
      assert.throws(() => parseQuantity("field", value, kind), {
        code: "ERR_OPTION",
        message: /^`field` must be .*as in ".*got /,
      });
    });
  }
});

describe("names", () => {
  test("every preset has rates, and a link of its own", () => {
    for (const name of hardwareNames) {
      const { link, ...hardware } = hardwarePreset(name);
      for (const value of [hardware.flopsPerSecond, hardware.memoryBytesPerSecond, hardware.memoryBytes]) {
        assert.ok(value > 0);
      }
      assert.equal(link.name, "NVLink");
    }
    assert.equal(hardwarePreset("A100 40GB").flopsPerSecond, 312e12);
  });

  test("one that is not known", () => {
    assert.throws(() => hardwarePreset("h100-smx"), {
      code: "ERR_OPTION",
      message: /did you mean h100-sxm\?/,
    });
    assert.throws(() => hardwarePreset("abacus"), { code: "ERR_OPTION", message: /known: a100-40gb, / });
  });

  test("links", () => {
    const own = hardwarePreset("b200").link;
    assert.deepEqual(linkOf("nvlink", own), own);
    for (const name of linkNames) assert.ok(linkOf(name, own).bytesPerSecond > 0);
    assert.equal(linkOf("10gbe", own).bytesPerSecond, 1.25e9);
    const { bytesPerSecond, latencySeconds } = linkOf("1Gbit,50us", own);
    assert.deepEqual([bytesPerSecond, latencySeconds], [125e6, 50e-6]);
    assert.throws(() => linkOf("10gb", own), { code: "ERR_OPTION", message: /did you mean 10gbe\?/ });
    assert.throws(() => linkOf("1Gbit,50GB", own), { code: "ERR_OPTION", message: /a time, as in "10 us"/ });
    assert.throws(() => linkOf("1Gbit,1us,2us", own), { code: "ERR_OPTION" });
  });
});

const box = {
  name: "box",
  compute: "50 TFLOP/s",
  memoryBandwidth: "900 GB/s",
  memory: "24 GB",
  link: { bandwidth: "10 Gbit/s", latency: "20 us" },
};

describe("hardware files", () => {
  test("one that is complete", () => {
    assert.deepEqual(parseHardware(box, "box.json"), {
      name: "box",
      flopsPerSecond: 50e12,
      memoryBytesPerSecond: 900e9,
      memoryBytes: 24e9,
      link: { name: "its link", bytesPerSecond: 1.25e9, latencySeconds: 20e-6 },
    });
  });

  const { compute: _, ...incomplete } = box;
  for (const [name, json, message] of [
    ["a field missing", incomplete, /`box.json: compute` is missing/],
    ["no unit", { ...box, memoryBandwidth: 900 }, /`box.json: memoryBandwidth` must be bytes or bits per/],
    [
      "the wrong unit",
      { ...box, memory: "24 GB/s" },
      /`box.json: memory` must be an amount .* got '24 GB\/s'/,
    ],
    ["a misspelt field", { ...box, memroy: "24 GB" }, /unknown option `memroy`; did you mean `memory`\?/],
    ["no link", { ...box, link: undefined }, /`box.json: link` is missing/],
    [
      "a link without latency",
      { ...box, link: { bandwidth: "1 GB/s" } },
      /`box.json: link: latency` is missing/,
    ],
    ["a list", null, /must be an object/],
  ] as const) {
    test(name, () => {
      assert.throws(() => parseHardware(json, "box.json"), { code: "ERR_OPTION", message });
    });
  }

  test("read from disk", async (t) => {
    const directory = await mkdtemp(join(tmpdir(), "kraken-plan-"));
    t.after(() => rm(directory, { recursive: true }));
    const file = join(directory, "box.json");
    await writeFile(file, JSON.stringify(box));
    assert.equal((await readHardware(file)).name, "box");
    await writeFile(file, "{");
    await assert.rejects(readHardware(file), { code: "ERR_OPTION", message: /box\.json is not JSON: / });
    await assert.rejects(readHardware(join(directory, "none.json")), { code: "ERR_IO" });
  });
});
