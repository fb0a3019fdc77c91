/** What `--models` stands for. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { baselineOf } from "../../lib/bench/contender.js";
import { readModels } from "../../lib/bench/models.js";
import { paperComparison } from "../../lib/bench/paper.js";
import { type EngineManifest, serializeManifest } from "../../lib/engine-directory.js";
import { type ModelConfig, parameterCount, validateModelConfig, waysOf } from "../../lib/model-config.js";
import { preset } from "../../lib/presets.js";

const sizes = ({ layers, hiddenSize, heads, headDim }: ModelConfig) => [layers, hiddenSize, heads, headDim];

describe("sizes of the paper", () => {
  test("where the authors trained a Kraken, it is that one", () => {
    for (const [ranks, name] of [
      [1, "kraken-125m-2way"],
      [2, "kraken-125m-2way"],
      [4, "kraken-125m-4way"],
      [6, "kraken-125m-6way"],
    ] as const) {
      const contenders = paperComparison("paper:125m").contenders(ranks);
      assert.deepEqual(
        contenders.map(({ label, model }) => [label, model]),
        [
          ["standard", "gpt-125m"],
          ["parallel", "parallel-125m"],
          ["ladder", "ladder-125m"],
          ["Kraken", name],
        ],
      );
      assert.deepEqual(contenders[3]!.config, preset(name).config);
    }
  });

  test("elsewhere its width is solved from the budget", () => {
    // 51200·d + 8·24·N·d² = 51200·2048 + 12·24·2048²: d is 1275 for N = 4 and 908 for N = 8; multiples of 64.
    const [standard, , , four] = paperComparison("1.3b").contenders(4);
    assert.deepEqual(sizes(standard!.config), [24, 2048, 16, 128]);
    assert.deepEqual(sizes(four!.config), [24, 1280, 10, 128]);
    assert.equal(waysOf(four!.config), 4);
    assert.equal(four!.config.ffnSize, 2560);
    assert.equal(standard!.config.ffnSize, 8192);
    assert.match(
      four!.model,
      /1\.3b with 4 ways of width 1280 \(1275 has the budget\), 10 heads of 128 each/,
    );
    assert.deepEqual(sizes(paperComparison("1.3b").contenders(8)[3]!.config), [24, 896, 7, 128]);
    assert.deepEqual(sizes(paperComparison("6.7b").contenders(4)[3]!.config), [32, 2496, 26, 96]);
    assert.deepEqual(sizes(paperComparison("175b").contenders(8)[3]!.config), [96, 5312, 83, 64]);
  });

  test("all of them are valid, and of one budget as far as multiples of 64 allow", () => {
    for (const size of ["125m", "350m", "760m", "1.3b", "2.7b", "6.7b", "13b", "65b", "175b"]) {
      for (const ranks of [2, 4, 8]) {
        const contenders = paperComparison(size).contenders(ranks);
        const [first] = contenders.map(({ config }) => parameterCount(validateModelConfig(config)));
        for (const { config, label } of contenders) {
          const off = Math.abs(parameterCount(config) / first! - 1);
          assert.ok(off < 0.08, `${size} on ${ranks} ranks, ${label}: ${off}`);
          assert.equal(config.heads * config.headDim, config.hiddenSize);
        }
      }
    }
  });

  test("a part of the layers, other ways, some architectures", () => {
    const options = { layersFraction: 0.25, ways: 8, architectures: ["gpt", "kraken"] } as const;
    const [standard, kraken] = paperComparison("65b", options).contenders(4);
    assert.equal(standard!.config.layers, 20);
    assert.equal(kraken!.config.layers, 20);
    assert.equal(waysOf(kraken!.config), 8);
    assert.equal(kraken!.config.hiddenSize, 3584); // of all layers: depth is cut afterwards
    assert.match(kraken!.model, /, 20 of 80 layers$/);
  });
});

test("the baseline is the standard transformer, or the first", () => {
  const [standard, parallel, ladder] = paperComparison("125m").contenders(2);
  assert.equal(baselineOf([ladder!, standard!, parallel!]), standard);
  assert.equal(baselineOf([ladder!, parallel!]), ladder);
  assert.equal(baselineOf([]), undefined);
});

async function engineDirectory(root: string, name: string, others: Partial<EngineManifest> = {}) {
  const directory = join(root, name);
  await mkdir(directory, { recursive: true });
  const { config } = preset("kraken-tiny-2way");
  const manifest: EngineManifest = {
    format: "kraken-engine",
    formatVersion: 1,
    createdBy: "a test",
    source: "nothing",
    architecture: config.architecture,
    config,
    ranks: 2,
    dtype: "float32",
    backend: "cpu",
    communication: "overlapped",
    padding: {},
    versions: {},
    tokenizer: null,
    eosTokenIds: [],
    files: {},
    ...others,
  };
  await writeFile(join(directory, "config.json"), serializeManifest(manifest));
  return directory;
}

describe("presets and engines", () => {
  test("form one comparison, beside the paper's", async (t) => {
    const root = await mkdtemp(join(tmpdir(), "kraken-models-"));
    t.after(() => rm(root, { recursive: true }));
    const one = await engineDirectory(join(root, "a"), "mine");
    const two = await engineDirectory(join(root, "b"), "mine");
    const { comparisons, engines } = await readModels([one, "paper:125m", "gpt-tiny", two]);
    assert.deepEqual(
      comparisons.map(({ name }) => name),
      ["given", "paper:125m"],
    );
    assert.deepEqual(
      comparisons[0]!.contenders(2).map(({ label, directory }) => [label, directory]),
      [
        ["mine", one],
        ["gpt-tiny", undefined],
        ["mine (2)", two],
      ],
    );
    assert.deepEqual(
      engines.map(({ directory }) => directory),
      [one, two],
    );
  });

  test("names that are none", async (t) => {
    const root = await mkdtemp(join(tmpdir(), "kraken-models-"));
    t.after(() => rm(root, { recursive: true }));
    const silent = await engineDirectory(root, "silent", { communication: "none" });
    const cases: [string[], string, RegExp][] = [
      [["kraken-tiny-3way"], "ERR_OPTION", /unknown model "kraken-tiny-3way"; did you mean kraken-tiny-/],
      [["paper:125n"], "ERR_OPTION", /unknown size "paper:125n"; did you mean 125m\?/],
      [["zzz"], "ERR_OPTION", /known: paper:125m, .* or an engine directory/],
      [[join(root, "nowhere")], "ERR_ENGINE_PATH", /does not exist/],
      [[silent], "ERR_OPTION", /built without collectives/],
      [[], "ERR_OPTION", /`models` must be at least one model/],
    ];
    for (const [names, code, message] of cases) await assert.rejects(readModels(names), { code, message });
    await assert.rejects(readModels(["gpt-tiny"], { layersFraction: 0 }), {
      code: "ERR_OPTION",
      message: /`layersFraction` must be a number over 0 and at most 1, got 0/,
    });
  });
});
