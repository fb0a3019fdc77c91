/** buildEngine() over an addon in TypeScript: what it writes, and that failures leave nothing behind. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type BuildOptions, type BuildSummary, buildEngineWith } from "../../lib/build.js";
import type { CheckpointIndex } from "../../lib/checkpoint/checkpoint-index.js";
import { readManifest, verifyHashes } from "../../lib/engine-directory.js";
import type { NativeAddon, NativeBuildOptions } from "../../lib/native.js";
import { tinyManifest } from "../helpers/fake-executor.js";

const checkpoint: CheckpointIndex = {
  description: "a test's checkpoint",
  dtype: "float32",
  config: tinyManifest.config,
  tensors: {
    "embed.positions": { source: "constant", value: 0, shape: [64, 12] },
  },
  tokenizer: { kind: "bytes" },
  eosTokenIds: [0],
};

const facts = {
  version: "10.15.1",
  gpu: "a test's GPU",
  computeCapability: 90,
  plugins: "0.1.0",
  maxStepTokens: 32,
  maxBatchSize: 4,
  maxRows: 36,
  maxSequenceLength: 64,
  kvBlockTokens: 64,
  pluginLayers: [5, 5],
};

interface FakeAddon extends NativeAddon {
  builds: NativeBuildOptions[];
}

/** Writes a small file for each rank, in `steps` steps a turn of the event loop apart. */
function fakeAddon(changes: { fail?: Error; steps?: number; tensorrt?: boolean } = {}): FakeAddon {
  const builds: NativeBuildOptions[] = [];
  return {
    version: "test",
    builds,
    capabilities: () => ({
      backends: {
        cpu: { available: true, reason: "", details: {} },
        tensorrt: { available: changes.tensorrt ?? false, reason: "this build has no TensorRT", details: {} },
      },
      libraries: { oneDNN: "2.6.3" },
      cores: 2,
    }),
    worker: () => ({ path: "", version: "", trouble: "none here" }),
    probeGpu: () => assert.fail("a build asked for what only kraken doctor asks"),
    plan({ ranks }) {
      if (ranks > 2) {
        throw Object.assign(new Error(`\`ranks\` must divide 2: got ${ranks}`), { code: "ERR_RANKS" });
      }
      const rank = {
        weightBytes: 100,
        loadedWeightBytes: 100,
        kvBytesPerToken: 10,
        kvCacheBytes: 640,
        activationBytes: 50,
        exchangeBytes: 0,
        ops: 3,
      };
      return {
        ranks: new Array(ranks).fill(rank),
        validRanks: [1, 2],
        graph: "op",
        network: { Linear: 2, Norm: 1 },
      };
    },
    build(options, onProgress) {
      builds.push(options);
      let cancelled = false;
      const work = async () => {
        for (let step = 1; step <= (changes.steps ?? 2); step++) {
          await new Promise(setImmediate);
          if (cancelled) throw Object.assign(new Error("cancelled"), { code: "ERR_ABORTED" });
          onProgress({ stage: "weights", done: step, total: changes.steps ?? 2 });
        }
        for (let rank = 0; rank < options.ranks; rank++) {
          await writeFile(join(options.directory, `rank${rank}.engine`), `weights of rank ${rank}`);
        }
        if (options.backend === "tensorrt") onProgress({ stage: "plans", done: 0.5, total: 1 });
        if (changes.fail) throw changes.fail;
        return options.backend === "tensorrt" ? JSON.stringify(facts) : "";
      };
      const cancel = () => {
        cancelled = true;
      };
      return { done: work(), cancel };
    },
    Executor: { load: () => assert.fail("a build loads nothing") },
  };
}

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-build-"));
});
after(() => rm(root, { recursive: true }));

let next = 0;
/** A path of its own in a directory of its own. */
async function place(): Promise<{ parent: string; output: string }> {
  const parent = join(root, String(next++));
  await mkdir(parent);
  return { parent, output: join(parent, "engine") };
}

const build = (addon: NativeAddon, options: BuildOptions) =>
  buildEngineWith(addon, { checkpoint, ...options }) as Promise<BuildSummary>;

describe("buildEngine", () => {
  test("writes a directory that checks out", async () => {
    const { parent, output } = await place();
    const addon = fakeAddon();
    const progress: string[] = [];
    const summary = await build(addon, {
      output,
      ranks: 2,
      onProgress: ({ stage, bytesDone, bytesTotal }) => progress.push(`${stage} ${bytesDone}/${bytesTotal}`),
    });
    assert.deepEqual(await readdir(parent), ["engine"]);
    assert.deepEqual((await readdir(output)).sort(), ["config.json", "rank0.engine", "rank1.engine"]);
    const manifest = await readManifest(output);
    await verifyHashes(output, manifest);
    assert.equal(manifest.ranks, 2);
    assert.equal(manifest.dtype, "bfloat16");
    assert.equal(manifest.source, "a test's checkpoint");
    assert.deepEqual(manifest.tokenizer, { kind: "bytes" });
    assert.deepEqual(manifest.eosTokenIds, [0]);
    assert.deepEqual(manifest.versions, { oneDNN: "2.6.3" });
    assert.equal(summary.directory, output);
    assert.deepEqual(summary.files, manifest.files);
    assert.ok(summary.bytes > 34 && summary.seconds > 0);
    assert.deepEqual(progress.slice(0, 2), ["weights 1/2", "weights 2/2"]);
    assert.equal(progress.at(-1), "checksums 34/34");
  });

  test("copies the tokenizer", async () => {
    const { parent, output } = await place();
    const file = join(parent, "tok.json");
    await writeFile(file, '{"model":{}}');
    await build(fakeAddon(), { checkpoint: { ...checkpoint, tokenizer: { kind: "file", file } }, output });
    assert.equal(await readFile(join(output, "tokenizer.json"), "utf8"), '{"model":{}}');
    const manifest = await readManifest(output);
    assert.deepEqual(manifest.tokenizer, { kind: "file", file: "tokenizer.json" });
    assert.ok(manifest.files["tokenizer.json"]);
  });

  test("leaves the type of a float16 checkpoint to GPUs, unless told another", async () => {
    const dtypeOf = async (stored: CheckpointIndex["dtype"], options: BuildOptions) => {
      const addon = fakeAddon({ tensorrt: true });
      const source = { ...checkpoint, dtype: stored };
      return (await build(addon, { checkpoint: source, dryRun: true, ...options })).dtype;
    };
    assert.equal(await dtypeOf("float16", { backend: "tensorrt" }), "float16");
    assert.equal(await dtypeOf("float16", { backend: "tensorrt", dtype: "bfloat16" }), "bfloat16");
    assert.equal(await dtypeOf("float32", { backend: "tensorrt" }), "bfloat16");
    assert.equal(await dtypeOf("bfloat16", { backend: "tensorrt" }), "bfloat16");
    assert.equal(await dtypeOf("float16", {}), "bfloat16");
    assert.equal(await dtypeOf("bfloat16", { dtype: "float16" }), "float16");
  });

  test("compiles for backend tensorrt, and keeps in the manifest what for", async () => {
    const { output } = await place();
    const addon = fakeAddon({ tensorrt: true });
    const progress: string[] = [];
    await build(addon, {
      output,
      ranks: 2,
      backend: "tensorrt",
      maxBatchSize: 4,
      maxStepTokens: 32,
      onProgress: ({ stage, bytesDone, bytesTotal }) => progress.push(`${stage} ${bytesDone}/${bytesTotal}`),
    });
    const { config: _, tensors: __, directory: ___, timings, ...asked } = addon.builds[0]!;
    assert.deepEqual(asked, {
      ranks: 2,
      dtype: "bfloat16",
      backend: "tensorrt",
      communication: true,
      ranksPerDevice: 1,
      maxStepTokens: 32,
      maxBatchSize: 4,
      maxSequenceLength: 64,
      trtllmMaxInput: 0,
      gatherContextLogits: false,
      libraryPath: "",
    });
    assert.match(timings, /kraken-engine\/timings$/);
    assert.deepEqual(progress.slice(0, 3), ["weights 1/2", "weights 2/2", "plans 100/200"]);
    const manifest = await readManifest(output);
    assert.deepEqual(manifest.tensorrt, facts);
    assert.deepEqual(manifest.versions, { TensorRT: "10.15.1", "kraken-plugins": "0.1.0" });
  });

  test("a dry run needs no backend", async () => {
    const plan = await buildEngineWith(fakeAddon(), { checkpoint, backend: "tensorrt", dryRun: true });
    assert.equal(plan.backend, "tensorrt");
    assert.deepEqual(plan.limits, { maxStepTokens: 64, maxBatchSize: 8, maxSequenceLength: 64 });
    assert.deepEqual(plan.network, { Linear: 2, Norm: 1 });
  });

  test("a dry run plans and writes nothing", async () => {
    const { parent, output } = await place();
    const addon = fakeAddon();
    const plan = await buildEngineWith(addon, { checkpoint, output, ranks: 2, dryRun: true });
    assert.deepEqual(plan.validRanks, [1, 2]);
    assert.equal(plan.perRank.length, 2);
    assert.deepEqual(await readdir(parent), []);
    assert.equal(addon.builds.length, 0);
  });

  test("cuts learned positions", async () => {
    const { output } = await place();
    const addon = fakeAddon();
    await build(addon, { output, maxPositions: 16 });
    assert.equal(addon.builds[0]!.config.maxPositions, 16);
    assert.deepEqual(addon.builds[0]!.tensors["embed.positions"]!.shape, [16, 12]);
    await assert.rejects(build(addon, { output: `${output}2`, maxPositions: 65 }), {
      code: "ERR_CONTEXT_LENGTH",
      message: /learned 64 positions/,
    });
  });

  test("replaces an engine only when told to", async () => {
    const { parent, output } = await place();
    await build(fakeAddon(), { output });
    await assert.rejects(build(fakeAddon(), { output, ranks: 2 }), {
      code: "ERR_ENGINE_PATH",
      message: /exists already.*overwrite/,
    });
    assert.equal((await readManifest(output)).ranks, 1);
    await build(fakeAddon(), { output, ranks: 2, overwrite: true });
    assert.equal((await readManifest(output)).ranks, 2);
    assert.deepEqual(await readdir(parent), ["engine"]);
  });

  test("a failing build leaves the engine that was there", async () => {
    const { parent, output } = await place();
    await build(fakeAddon(), { output });
    const fail = Object.assign(new Error("boom"), { code: "ERR_CHECKPOINT_VALUES" });
    await assert.rejects(build(fakeAddon({ fail }), { output, ranks: 2, overwrite: true }), {
      code: "ERR_CHECKPOINT_VALUES",
      name: "CheckpointError",
    });
    assert.equal((await readManifest(output)).ranks, 1);
    assert.deepEqual(await readdir(parent), ["engine"]);
  });

  test("does not replace what is no engine", async () => {
    const { output } = await place();
    await mkdir(output);
    await writeFile(join(output, "thesis.tex"), "");
    await assert.rejects(build(fakeAddon(), { output, overwrite: true }), {
      code: "ERR_ENGINE_PATH",
      message: /is not an engine/,
    });
    await assert.rejects(build(fakeAddon(), { output: join(output, "thesis.tex"), overwrite: true }), {
      code: "ERR_ENGINE_PATH",
      message: /not a directory/,
    });
  });
});

describe("nothing is left behind", () => {
  test("when the disk is full", async () => {
    const { parent } = await place();
    const fail = Object.assign(new Error("cannot write rank0.engine: No space left on device"), {
      code: "ERR_IO",
    });
    await assert.rejects(build(fakeAddon({ fail }), { output: join(parent, "a/b/engine") }), {
      code: "ERR_IO",
    });
    assert.deepEqual(await readdir(parent), []); // not even the parents made for it
  });

  test("when the directory cannot be written", async () => {
    const { parent } = await place();
    await writeFile(join(parent, "file"), "");
    await assert.rejects(build(fakeAddon(), { output: join(parent, "file", "engine") }), {
      code: "ERR_IO",
      message: /cannot create .*(ENOTDIR|EEXIST)/,
    });
    await assert.rejects(build(fakeAddon(), { output: "/proc/kraken/engine" }), { code: "ERR_IO" });
    assert.deepEqual(await readdir(parent), ["file"]);
  });

  test("when aborted", async () => {
    const { parent, output } = await place();
    const controller = new AbortController();
    const reason = new Error("changed my mind");
    const running = build(fakeAddon({ steps: 1000 }), {
      output,
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    });
    await assert.rejects(running, reason);
    assert.deepEqual(await readdir(parent), []);
    await assert.rejects(build(fakeAddon(), { output, signal: AbortSignal.abort(reason) }), reason);
  });

  test("when onProgress throws", async () => {
    const { parent, output } = await place();
    const thrown = new Error("in the callback");
    const running = build(fakeAddon({ steps: 1000 }), {
      output,
      onProgress: () => {
        throw thrown;
      },
    });
    await assert.rejects(running, thrown);
    assert.deepEqual(await readdir(parent), []);
  });

  test("when the tokenizer cannot be copied", async () => {
    const { parent, output } = await place();
    const tokenizer = { kind: "file", file: join(parent, "absent.json") } as const;
    await assert.rejects(build(fakeAddon(), { checkpoint: { ...checkpoint, tokenizer }, output }), {
      code: "ERR_IO",
      message: /absent\.json.*ENOENT/,
    });
    assert.deepEqual(await readdir(parent), []);
  });
});

describe("refuses", () => {
  const bad: [string, BuildOptions, string, RegExp][] = [
    ["ranks that do not fit", { ranks: 3 }, "ERR_RANKS", /must divide/],
    [
      "int8 on GPUs",
      { backend: "tensorrt", dtype: "int8", dryRun: true },
      "ERR_OPTION",
      /"int8" is for backend "cpu"/,
    ],
    [
      "more ranks than GPUs of a machine",
      { backend: "tensorrt", ranks: 9, dryRun: true },
      "ERR_RANKS",
      /at most 8 GPUs/,
    ],
    ["ranks that share no GPU", { ranksPerDevice: 2 }, "ERR_OPTION", /is for backend "tensorrt"/],
    [
      "a step without tokens",
      { maxStepTokens: 0 },
      "ERR_OPTION",
      /`maxStepTokens` must be an integer from 1/,
    ],
    ["ranks that are no count", { ranks: 0 }, "ERR_OPTION", /`ranks` must be an integer from 1/],
    [
      "a dtype",
      { dtype: "int4" as never },
      "ERR_OPTION",
      /`dtype` must be "float32" or "bfloat16" or "float16" or "int8"/,
    ],
    ["a backend", { backend: "tpu" }, "ERR_OPTION", /`backend` must be "cpu" or "tensorrt"/],
    [
      "a backend that is missing",
      { backend: "tensorrt" },
      "ERR_BACKEND_UNAVAILABLE",
      /this build has no TensorRT/,
    ],
    ["a typo", { rank: 2 } as never, "ERR_OPTION", /did you mean `ranks`/],
    ["two sources", { random: "kraken-tiny-2way" }, "ERR_OPTION", /either `checkpoint`/],
    ["no source", { checkpoint: undefined }, "ERR_OPTION", /either `checkpoint`/],
    ["a seed for a checkpoint", { seed: 1 }, "ERR_OPTION", /`seed` is for random weights/],
    ["no output", { output: undefined }, "ERR_OPTION", /`output` must be the directory/],
  ];
  for (const [what, options, code, message] of bad) {
    test(what, async () => {
      const { parent, output } = await place();
      await assert.rejects(build(fakeAddon(), { output, ...options }), { code, message });
      assert.deepEqual(await readdir(parent), []);
    });
  }
});
