/** Backend tensorrt where it cannot run: plans are made, everything else is refused with the reason, and nothing is left. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { readManifest, serializeManifest } from "../../lib/engine-directory.js";
import { buildEngine, Engine } from "../../lib/index.js";
import { native } from "../../lib/native.js";
import { buildTiny } from "../helpers/child.js";

const available = native().capabilities().backends.tensorrt!.available;
const skip = available ? "backend tensorrt is available here" : false;

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-tensorrt-"));
});
after(() => rm(root, { recursive: true, force: true }));

test("a dry run says what each rank would hold", async () => {
  const model = { random: "kraken-760m-4way", ranks: 4, dryRun: true } as const;
  const plan = await buildEngine({ ...model, backend: "tensorrt", maxBatchSize: 16, maxStepTokens: 4096 });
  assert.equal(plan.perRank.length, 4);
  const { config, limits, network } = plan;
  assert.deepEqual(limits, { maxStepTokens: 4096, maxBatchSize: 16, maxSequenceLength: config.maxPositions });
  for (const rank of plan.perRank) {
    // bfloat16: keys and values of one way's heads in every layer, each padded to 16 bytes.
    const perToken = 2 * 2 * config.layers * config.kvHeads * Math.ceil(config.headDim / 8) * 8;
    assert.equal(rank.kvBytesPerToken, perToken);
    assert.equal(rank.kvCacheBytes, 16 * config.maxPositions * perToken);
    const row = 2 * config.hiddenSize;
    assert.equal(rank.exchangeBytes, 10 * 4096 * row);
    assert.ok(rank.activationBytes > 4096 * row && rank.activationBytes < 100 * 4096 * row);
  }
  assert.equal(network.Attention, config.layers);
  assert.equal(network.StartNorm, config.layers - 1);
  const sizes = { backend: "tensorrt", maxBatchSize: 16, maxStepTokens: 4096 } as const;
  const half = await buildEngine({ ...model, ...sizes, dtype: "float16" });
  assert.equal(half.dtype, "float16");
  assert.deepEqual(half.perRank, plan.perRank);
  const cpu = await buildEngine({ ...model, maxBatchSize: 16, maxStepTokens: 4096 });
  assert.deepEqual(
    cpu.perRank.map((rank) => rank.weightBytes),
    plan.perRank.map((rank) => rank.weightBytes),
  );
});

test("building is refused before anything is written", { skip }, async () => {
  await assert.rejects(
    buildEngine({ random: "kraken-tiny-2way", backend: "tensorrt", output: join(root, "engine") }),
    {
      name: "RuntimeError",
      code: "ERR_BACKEND_UNAVAILABLE",
      message: /^backend "tensorrt" is not available: .+/,
    },
  );
  assert.deepEqual(await readdir(root), []);
});

test("an engine built elsewhere is refused before its plan is read", { skip }, async () => {
  const engine = join(root, "tiny");
  await buildTiny(engine);
  const plans = join(root, "plans");
  await cp(engine, plans, { recursive: true });
  await writeFile(join(plans, "rank0.engine"), "no plan at all");
  const manifest = await readManifest(engine);
  await writeFile(join(plans, "config.json"), serializeManifest({ ...manifest, backend: "tensorrt" }));
  await assert.rejects(Engine.load(plans), {
    name: "RuntimeError",
    code: "ERR_BACKEND_UNAVAILABLE",
    message: /needs backend "tensorrt", which is not available: /,
  });
  assert.match(await readFile(join(plans, "rank0.engine"), "utf8"), /no plan/);
});
