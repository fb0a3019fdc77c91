/** What kraken plan says of a wrong command line, and of a wrong file. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { hardwareNames, linkNames } from "../../lib/plan/hardware.js";
import { kraken } from "./cli-harness.js";

test("the help names all hardware and links", async () => {
  const { stdout } = await kraken(["plan", "--help"]);
  for (const name of [...hardwareNames, ...linkNames]) assert.match(stdout, new RegExp(`[ ,]${name}[,\\n]`));
});

describe("a wrong command line", () => {
  const cases: [string, string[], string, RegExp][] = [
    ["unknown hardware", ["--hardware", "h100-sxn"], "ERR_OPTION", /did you mean h100-sxm\?/],
    ["unknown link", ["--link", "10gb"], "ERR_OPTION", /did you mean 10gbe\?/],
    ["unknown size", ["--models", "1.3b,14b"], "ERR_OPTION", /unknown size "14b"; did you mean 1?3b\?/],
    ["ranks that divide no width", ["--ranks", "4,3"], "ERR_RANKS", /--ranks must divide .*got 3/],
    [
      "ranks that divide no ways",
      ["--target-params", "1e9", "--ranks", "3", "--ways", "4"],
      "ERR_RANKS",
      /got 3/,
    ],
    ["negative ranks", ["--ranks", "-4"], "ERR_OPTION", /--ranks must be .* got -4/],
    ["a negative context", ["--context", "-1"], "ERR_OPTION", /--context-length must be .* got -1/],
    ["a negative vocabulary", ["--vocab-size", "-1"], "ERR_OPTION", /--vocab-size must be .* got -1/],
    ["rounding to nothing", ["--round-to", "0"], "ERR_OPTION", /--round-to must be .* got 0/],
    ["no batch", ["--batch", "0"], "ERR_OPTION", /--batch must be .* got 0/],
    [
      "negative parameters",
      ["--target-params", "-1e9", "--ranks", "8"],
      "ERR_OPTION",
      /--target-params must be/,
    ],
    ["parameters without ranks", ["--target-params", "1e9"], "ERR_USAGE", /needs --ranks/],
    ["two rank counts", ["--target-params", "1e9", "--ranks", "4,8"], "ERR_USAGE", /one number of --ranks/],
    ["layers without a width", ["--layers", "12"], "ERR_USAGE", /belong together/],
    [
      "ranks that are more than ways",
      ["--ways", "4"],
      "ERR_RANKS",
      /--ranks must divide --ways \(4\): got 8/,
    ],
    ["ranks that are no numbers", ["--ranks", "4,x"], "ERR_USAGE", /whole number/],
    ["an efficiency over 1", ["--efficiency", "flop=1.5"], "ERR_USAGE", /got flop=1\.5/],
    ["an efficiency of nothing", ["--efficiency", "gpu=0.5"], "ERR_USAGE", /got gpu=0\.5/],
    [
      "a latency without a unit",
      ["--latency", "15"],
      "ERR_OPTION",
      /--latency must be a time, as in "10 us"/,
    ],
    ["two questions", ["--target-params", "1e9", "--break-even"], "ERR_USAGE", /cannot be used with/],
    ["two outputs", ["--markdown", "--json"], "ERR_USAGE", /cannot be used with/],
  ];
  for (const [name, args, code, message] of cases) {
    test(name, async () => {
      const ran = await kraken(["plan", ...args, ...(args.includes("--json") ? [] : ["--json"])]);
      assert.equal(ran.code, 2);
      const { error } = JSON.parse(ran.stdout);
      assert.equal(error.code, code);
      assert.match(error.message, message);
    });
  }

  test("a hardware file with a wrong unit", async (t) => {
    const directory = await mkdtemp(join(tmpdir(), "kraken-plan-"));
    t.after(() => rm(directory, { recursive: true }));
    const path = join(directory, "file.json");
    await writeFile(
      path,
      JSON.stringify({ compute: "1 TFLOP/s", memoryBandwidth: "1 GB/s", memory: "24 GB/s", link: {} }),
    );
    const { code, stderr } = await kraken(["plan", "--hardware", path]);
    assert.equal(code, 2);
    assert.match(stderr, /file\.json: memory` must be an amount of memory, as in "40 GB", got '24 GB\/s'/);
    assert.match(stderr, /^code: ERR_OPTION$/m);
  });

  test("a file that is not there", async () => {
    const { code, stderr } = await kraken(["plan", "--hardware", "./none.json"]);
    assert.equal(code, 1);
    assert.match(stderr, /^code: ERR_IO$/m);
  });
});
