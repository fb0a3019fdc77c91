/**
 * float16 on a CPU is how weights are stored, and not what they are multiplied in: of weights that float16 holds, the logits
 * stay within float32's bound. What it does not hold is an error, and nothing is written.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { CheckpointIndex, TensorView } from "../../lib/checkpoint/checkpoint-index.js";
import { type BuildPlan, buildEngine } from "../../lib/index.js";
import { referenceLogits } from "../../lib/reference.js";
import { randomCheckpoint } from "../helpers/random-checkpoint.js";
import { tensorReader } from "../helpers/tensors.js";
import { type ParityCase, parityCases } from "./configurations.js";
import { checkLogits, inTemporaryDirectory, someTokens, tolerances } from "./harness.js";

const cases = parityCases.filter(({ name }) =>
  ["kraken 4-way", "gpt, half-split", "parallel, one norm", "ladder, biases"].some((start) =>
    name.startsWith(start),
  ),
);

/** Weights that are multiples of 1/256 below 8, which float16 has, in a file of float32; `last`: the last of the tokens' table. */
async function checkpointIn(
  directory: string,
  { config }: ParityCase,
  last?: number,
): Promise<CheckpointIndex> {
  const random = randomCheckpoint(config);
  const read = tensorReader(random);
  const file = join(directory, "weights.bin");
  const parts: Float32Array[] = [];
  const tensors: Record<string, TensorView> = {};
  let offset = 0;
  for (const [name, { shape }] of Object.entries(random.tensors)) {
    const values = Float32Array.from(read(name), (value) => Math.round(256 * value) / 256);
    assert.ok(values.every((value) => Math.abs(value) < 8));
    if (name === "embed.tokens" && last !== undefined) values[values.length - 1] = last;
    const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
    tensors[name] = { source: "file", file, offset, dtype: "float32", shape, strides };
    offset += values.byteLength;
    parts.push(values);
  }
  await writeFile(file, Buffer.concat(parts.map(({ buffer }) => Buffer.from(buffer))));
  return { ...random, tensors };
}

for (const one of cases) {
  test(`${one.name}: weights that float16 holds lose nothing`, async (context) => {
    await inTemporaryDirectory(async (directory) => {
      const checkpoint = await checkpointIn(directory, one);
      const tokens = someTokens(67, one.config.vocabSize);
      const expected = referenceLogits(one.config, tensorReader(checkpoint), tokens);
      const worst = await checkLogits(checkpoint, {
        ranks: one.ranks.at(-1)!,
        dtype: "float16",
        tokens,
        expected,
        tolerance: tolerances.float32,
        label: one.name,
      });
      context.diagnostic(`${(100 * worst.used).toFixed(1)} % of float32's tolerance used (${worst.where})`);
    });
  });
}

test("a value beyond float16 is named, and nothing is left", async () => {
  await inTemporaryDirectory(async (directory) => {
    const [one] = cases as [ParityCase];
    const place = join(directory, "engines");
    await mkdir(place);
    const output = join(place, "engine");
    const build = async (last: number) => {
      const checkpoint = await checkpointIn(directory, one, last);
      return buildEngine({ checkpoint, output, ranks: 2, dtype: "float16" });
    };
    await assert.rejects(build(-70_000), {
      name: "ArgumentError",
      code: "ERR_OPTION",
      message:
        '`dtype` "float16" cannot hold embed.tokens, which has a -70000, beyond float16\'s 65504; use "bfloat16"',
    });
    assert.deepEqual(await readdir(place), []);
    await build(65_504);
    assert.deepEqual(await readdir(place), ["engine"]);
  });
});

test("a plan counts what the weights take when they are loaded", async () => {
  const sizes = async (dtype: "float16" | "float32") => {
    const plan = (await buildEngine({
      random: "kraken-tiny-2way",
      ranks: 2,
      dtype,
      dryRun: true,
    })) as BuildPlan;
    return plan.perRank[0]!;
  };
  const [half, single] = [await sizes("float16"), await sizes("float32")];
  assert.equal(half.loadedWeightBytes, 2 * half.weightBytes);
  assert.equal(single.loadedWeightBytes, single.weightBytes);
  const { kvBytesPerToken, activationBytes } = single;
  assert.deepEqual([half.kvBytesPerToken, half.activationBytes], [kvBytesPerToken, activationBytes]);
});
