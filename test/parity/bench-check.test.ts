/** The check before anything is timed: it passes for every architecture, dtype and rank count, and sees what is wrong. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Checker, checkedConfig, failureOf } from "../../lib/bench/check.js";
import { paperComparison } from "../../lib/bench/paper.js";
import { parameterCount } from "../../lib/model-config.js";
import { preset } from "../../lib/presets.js";
import { parityCases } from "./configurations.js";
import { inTemporaryDirectory } from "./harness.js";

describe("what is checked", () => {
  test("is two layers of the same sizes", () => {
    const { config } = preset("kraken-125m-2way");
    assert.deepEqual(checkedConfig(config, 2), { ...config, layers: 2, vocabSize: 512, maxPositions: 16 });
  });

  test("of very wide models it has fewer heads, which the ranks still divide", () => {
    for (const { config, label } of paperComparison("175b").contenders(8)) {
      const checked = checkedConfig(config, 8);
      assert.ok(parameterCount(checked) <= 80e6, label);
      assert.equal(checked.heads * checked.headDim, checked.hiddenSize);
      assert.equal(checked.headDim, config.headDim);
      if (config.architecture !== "kraken") assert.equal(checked.heads % 8, 0);
    }
  });
});

describe("the check", () => {
  const names = ["kraken-tiny-2way", "gpt-tiny", "parallel-tiny", "ladder-tiny"];
  for (const dtype of ["float32", "bfloat16"] as const) {
    test(`of ${names.join(", ")} in ${dtype}`, async (context) => {
      await inTemporaryDirectory(async (root) => {
        const checker = new Checker(root, dtype, "cpu");
        for (const name of names) {
          for (const ranks of [1, 2]) {
            const check = await checker.check({ config: preset(name).config, ranks, threadsPerRank: 1 });
            assert.equal(failureOf(check), undefined);
            assert.ok(check.relativeError > 0);
            const used = (100 * check.relativeError) / check.tolerance;
            context.diagnostic(`${name}, ${ranks} ranks: ${used.toFixed(1)} % of the tolerance used`);
          }
        }
      });
    });
  }

  test("of other families: rotary positions, SwiGLU, RMSNorm, grouped and untied heads", async () => {
    const cases = parityCases.filter(({ name }) => /SwiGLU|two norms/.test(name));
    assert.equal(cases.length, 3);
    await inTemporaryDirectory(async (root) => {
      const checker = new Checker(root, "float32", "cpu");
      for (const { config } of cases) {
        assert.equal(failureOf(await checker.check({ config, ranks: 2, threadsPerRank: 1 })), undefined);
      }
    });
  });

  test("fails beyond the tolerance, and for what is no number", () => {
    const check = { layers: 2, hiddenSize: 8, tokens: 16, relativeError: 0.5, tolerance: 0.02 };
    assert.match(failureOf(check)!, /differ from the float64 reference by 5\.0e-1, more than 0\.02/);
    assert.match(failureOf({ ...check, relativeError: Number.NaN })!, /by NaN/);
    assert.equal(failureOf({ ...check, relativeError: 0.02 }), undefined);
  });
});
