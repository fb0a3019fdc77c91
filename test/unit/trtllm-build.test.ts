/** buildEngine() for TensorRT-LLM, over an addon that compiles nothing: dry runs, limits, and what the manifest gets. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type BuildOptions, type BuildPlan, buildEngineWith } from "../../lib/build.js";
import { readManifest } from "../../lib/engine-directory.js";
import type { NativeAddon, NativeBuildOptions } from "../../lib/native.js";

const builds: NativeBuildOptions[] = [];
const facts = { version: "10.13.3", gpu: "a test's GPU", maxStepTokens: 64, pluginLayers: [9, 9] };
const available = { available: true, reason: "", details: {} };
const rank = {
  weightBytes: 100,
  loadedWeightBytes: 100,
  kvBytesPerToken: 10,
  kvCacheBytes: 640,
  activationBytes: 50,
  exchangeBytes: 8,
  ops: 3,
};
const addon: NativeAddon = {
  version: "test",
  capabilities: () => ({
    backends: { cpu: available, tensorrt: available, "tensorrt-llm": available },
    libraries: {},
    cores: 2,
  }),
  worker: () => ({ path: "", version: "", trouble: "none here" }),
  probeGpu: () => assert.fail("asked of a build"),
  plan: ({ ranks }) => ({
    ranks: new Array(ranks).fill(rank),
    validRanks: [1, 2, 4],
    graph: "op",
    network: { StartNorm: 2, JoinNorm: 2, AllReduce: 1 },
  }),
  build(options) {
    builds.push(options);
    const work = async () => {
      for (let i = 0; i < options.ranks; i++)
        await writeFile(join(options.directory, `rank${i}.engine`), `plan ${i}`);
      return JSON.stringify(facts);
    };
    return { done: work(), cancel: () => {} };
  },
  Executor: { load: () => assert.fail("a build loads nothing") },
};

let root: string;
const named = process.env.TENSORRT_LLM_ROOT;
before(() => {
  root = mkdtempSync(join(tmpdir(), "kraken-trtllm-build-"));
  mkdirSync(join(root, "libs"), { recursive: true });
  writeFileSync(join(root, "libs", "libtensorrt_llm.so"), "");
  writeFileSync(join(root, "version.py"), '__version__ = "1.2.1"\n');
  process.env.TENSORRT_LLM_ROOT = root;
});
after(() => {
  if (named === undefined) delete process.env.TENSORRT_LLM_ROOT;
  else process.env.TENSORRT_LLM_ROOT = named;
  rmSync(root, { recursive: true, force: true });
});

const build = (options: BuildOptions) =>
  buildEngineWith(addon, { random: "kraken-tiny-4way", backend: "tensorrt-llm", ranks: 2, ...options });

test("a dry run says what TensorRT-LLM will read, and needs nothing of it", async () => {
  delete process.env.TENSORRT_LLM_ROOT;
  const { trtllm, limits } = (await build({ dryRun: true, maxBatchSize: 4, maxStepTokens: 64 })) as BuildPlan;
  process.env.TENSORRT_LLM_ROOT = root;
  assert.deepEqual(limits, { maxBatchSize: 4, maxStepTokens: 64, maxSequenceLength: 128 });
  const { max_batch_size, max_input_len, max_seq_len, max_num_tokens } = trtllm!.build_config;
  assert.deepEqual([max_batch_size, max_input_len, max_seq_len, max_num_tokens], [4, 127, 128, 64]);
  // Two exchanges of a start and a join each, the conjunction's sum, and that of the logits.
  assert.equal(trtllm!.kraken.plugins, 6);
});

test("the manifest is TensorRT-LLM's config.json too, and the compiler finds its libraries", async () => {
  const output = join(root, "engine");
  await build({ output, maxInputLength: 100, gatherContextLogits: true, gpusPerNode: 1 });
  const { trtllmMaxInput, gatherContextLogits, libraryPath, backend } = builds.at(-1)!;
  assert.deepEqual([backend, trtllmMaxInput, gatherContextLogits], ["tensorrt-llm", 100, true]);
  assert.equal(libraryPath.split(":")[0], join(root, "libs"));
  const manifest = await readManifest(output);
  assert.deepEqual([manifest.backend, manifest.version, manifest.ranks], ["tensorrt-llm", "1.2.1", 2]);
  const { tp_size, gpus_per_node } = manifest.pretrained_config!.mapping;
  assert.deepEqual([tp_size, gpus_per_node], [2, 1]);
  assert.equal(manifest.build_config!.gather_context_logits, true);
  assert.equal(manifest.kraken!.plugins, 9); // what the plan has, whatever was expected
  assert.deepEqual(Object.keys(manifest.files), ["rank0.engine", "rank1.engine"]);
});

test("a size of the paper is a model", async () => {
  for (const [size, ranks, layers] of [
    ["1.3b", 4, 24],
    ["6.7b", 8, 32],
  ] as const) {
    const { config, trtllm, source } = (await build({
      random: `paper:${size}`,
      ranks,
      dryRun: true,
    })) as BuildPlan;
    assert.deepEqual(
      [config.architecture, config.layers, config.vocabSize, config.maxPositions],
      ["kraken", layers, 51200, 2048],
    );
    assert.equal((config as { ways: number }).ways, ranks);
    assert.equal(trtllm!.pretrained_config.num_attention_heads, ranks * config.heads);
    assert.match(source, new RegExp(`${size} with ${ranks} ways`));
  }
});

test("what cannot be is refused before anything is written", async () => {
  const code = (options: BuildOptions) =>
    build({ dryRun: true, ...options }).then(
      () => "built",
      (error: { code: string }) => error.code,
    );
  assert.equal(await code({ dtype: "int8" }), "ERR_OPTION");
  assert.equal(await code({ communication: "none" }), "ERR_OPTION");
  assert.equal(await code({ maxInputLength: 128 }), "ERR_OPTION");
  assert.equal(await code({ ranksPerDevice: 2 }), "ERR_OPTION");
  assert.equal(await code({ random: "paper:1.4b" }), "ERR_OPTION");
  assert.equal(await code({ backend: "cpu", maxInputLength: 10 }), "ERR_OPTION");
  process.env.TENSORRT_LLM_ROOT = join(root, "libs");
  const output = join(root, "none");
  await assert.rejects(build({ output }), { code: "ERR_BACKEND_UNAVAILABLE" });
  process.env.TENSORRT_LLM_ROOT = root;
});
