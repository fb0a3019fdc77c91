import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import {
  checkBackend,
  type EngineManifest,
  readManifest,
  serializeManifest,
  verifyHashes,
  verifySizes,
} from "../../lib/engine-directory.js";
import { executorOptions, type LoadOptions, resolveLoad } from "../../lib/engine-options.js";
import type { TensorRtFacts } from "../../lib/tensorrt.js";
import { tinyManifest } from "../helpers/fake-executor.js";

const content = Buffer.alloc(3 << 20, "kraken"); // more than one piece
const manifest: EngineManifest = {
  ...tinyManifest,
  files: {
    "rank0.engine": { bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") },
    "rank1.engine": { bytes: 3, sha256: createHash("sha256").update("abc").digest("hex") },
  },
};

let directory: string;
const at = (name: string) => join(directory, name);

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "kraken-directory-"));
});
after(() => rm(directory, { recursive: true }));
beforeEach(async () => {
  await writeFile(at("rank0.engine"), content);
  await writeFile(at("rank1.engine"), "abc");
  await writeFile(at("config.json"), serializeManifest(manifest));
});

describe("an engine directory", () => {
  test("is read back as it was written", async () => {
    const read = await readManifest(directory);
    assert.deepEqual(read, manifest);
    await verifyHashes(directory, read);
  });

  test("with a changed byte is corrupt", async () => {
    const changed = Buffer.from(content);
    changed[content.length - 1]! ^= 1;
    await writeFile(at("rank0.engine"), changed);
    await verifySizes(directory, manifest);
    await assert.rejects(verifyHashes(directory, manifest), {
      code: "ERR_ENGINE_CORRUPT",
      name: "EngineDirectoryError",
      message:
        /rank0\.engine has changed.*rebuild it: kraken build .*--ranks 2 --dtype float32 --backend cpu/,
    });
  });

  test("with a truncated file is corrupt, without hashing", async () => {
    await truncate(at("rank0.engine"), 1000);
    await assert.rejects(verifySizes(directory, manifest), {
      code: "ERR_ENGINE_CORRUPT",
      message: /rank0\.engine has 1000 bytes, its manifest records 3145728/,
    });
  });

  test("with a missing file is corrupt", async () => {
    await rm(at("rank1.engine"));
    await assert.rejects(verifySizes(directory, manifest), {
      code: "ERR_ENGINE_CORRUPT",
      message: /rank1\.engine is missing/,
    });
  });

  test("with a changed manifest is corrupt", async () => {
    const text = await readFile(at("config.json"), "utf8");
    await writeFile(at("config.json"), text.replace('"layers": 2', '"layers": 3'));
    await assert.rejects(readManifest(directory), {
      code: "ERR_ENGINE_CORRUPT",
      message: /was changed after/,
    });
    await writeFile(at("config.json"), text.slice(0, 100));
    await assert.rejects(readManifest(directory), { code: "ERR_ENGINE_CORRUPT", message: /not valid JSON/ });
  });

  test("of a newer format says so", async () => {
    await writeFile(
      at("config.json"),
      serializeManifest({ ...manifest, formatVersion: 2, createdBy: "later" }),
    );
    await assert.rejects(readManifest(directory), {
      code: "ERR_ENGINE_VERSION",
      message: /has engine format 2 \(written by later\).*reads 1: update kraken-engine, or rebuild it/,
    });
  });

  test("that is none", async () => {
    await writeFile(at("config.json"), '{"model_type": "gpt2"}');
    await assert.rejects(readManifest(directory), {
      code: "ERR_ENGINE_PATH",
      message: /if .* is a checkpoint/,
    });
    await writeFile(at("config.json"), "null");
    await assert.rejects(readManifest(directory), { code: "ERR_ENGINE_PATH" });
    await rm(at("config.json"));
    await assert.rejects(readManifest(directory), {
      code: "ERR_ENGINE_PATH",
      message: /has no config\.json/,
    });
    await assert.rejects(readManifest(at("rank1.engine")), { code: "ERR_ENGINE_PATH", message: /is a file/ });
    await assert.rejects(readManifest(at("absent")), { code: "ERR_ENGINE_PATH", message: /does not exist/ });
  });

  test("for another backend", () => {
    checkBackend(directory, manifest, undefined, ["cpu"]);
    checkBackend(directory, manifest, "cpu", ["cpu"]);
    assert.throws(() => checkBackend(directory, manifest, "tensorrt", ["cpu", "tensorrt"]), {
      code: "ERR_ENGINE_BACKEND",
      message: /built for backend "cpu", not "tensorrt".*--backend tensorrt/,
    });
    assert.throws(() => checkBackend(directory, { ...manifest, backend: "tpu" }, undefined, ["cpu"]), {
      code: "ERR_ENGINE_BACKEND",
      message: /"tpu", which this version .* does not know/,
    });
  });

  test("can be checked under an abort signal", async () => {
    const signal = AbortSignal.abort(new Error("stop it"));
    await assert.rejects(verifyHashes(directory, manifest, signal), /stop it/);
  });
});

describe("load options", () => {
  test("defaults leave the choice to the executor", () => {
    const { config: _, ...options } = executorOptions(directory, manifest, {});
    assert.deepEqual(options, {
      directory,
      backend: "cpu",
      ranks: 2,
      dtype: "float32",
      communication: true,
      linkBytesPerSecond: 0,
      linkLatencySeconds: 0,
      threadsPerRank: 0,
      maxBatchSize: 8,
      maxSequenceLength: 64,
      maxStepTokens: 0,
      prefillChunk: 0,
      maxQueue: 1024,
      kvCacheTokens: 0,
      prefixReuse: true,
      profile: false,
      isolation: "none",
      ranksPerDevice: 1,
      backendConfig: "",
      hosts: [],
      launchAgent: [],
      secret: "",
      startSeconds: 0,
      exchangeDtype: "float32",
      verify: true,
    });
  });

  describe("of backend tensorrt", () => {
    const facts: TensorRtFacts = {
      version: "10.15.1",
      gpu: "a test's GPU",
      computeCapability: 90,
      plugins: "0.1.0",
      maxStepTokens: 32,
      maxBatchSize: 4,
      maxRows: 36,
      maxSequenceLength: 48,
      kvBlockTokens: 64,
      pluginLayers: [5, 5],
    };
    const compiled: EngineManifest = { ...manifest, backend: "tensorrt", tensorrt: facts };

    test("are what the engine was built for, in a process of its own", () => {
      const chosen = executorOptions(directory, compiled, { ranksPerDevice: 2 });
      assert.equal(chosen.isolation, "process");
      assert.equal(chosen.ranksPerDevice, 2);
      assert.deepEqual([chosen.maxStepTokens, chosen.maxBatchSize, chosen.maxSequenceLength], [32, 4, 48]);
      assert.deepEqual(JSON.parse(chosen.backendConfig), facts);
    });

    test("may have a process for each rank", () => {
      const { hosts, isolation } = executorOptions(directory, compiled, { hosts: "localhost:2" });
      assert.deepEqual([hosts, isolation], [["localhost", "localhost"], "process"]);
    });

    const refused: [string, LoadOptions, RegExp][] = [
      ["steps", { maxStepTokens: 33 }, /`maxStepTokens` is 33.*built for at most 32/],
      ["batches", { maxBatchSize: 5 }, /`maxBatchSize` is 5.*built for at most 4/],
      ["sequences", { maxSequenceLength: 49 }, /at most 48.*again with `maxPositions` 49/],
      ["ranks in this process", { isolation: "none" }, /always run in kraken-worker/],
      ["an emulated link", { link: "1Gbit,20us" }, /backend "cpu" alone/],
      ["a type of the sums", { exchangeDtype: "bfloat16" }, /in the type of the engine/],
    ];
    for (const [what, options, message] of refused) {
      test(`refuses ${what} that it was not built for`, () => {
        assert.throws(() => executorOptions(directory, compiled, options), { code: "ERR_OPTION", message });
      });
    }

    test("need the manifest's facts", () => {
      const without: EngineManifest = { ...manifest, backend: "tensorrt" };
      assert.throws(() => executorOptions(directory, without, {}), { code: "ERR_ENGINE_CORRUPT" });
    });

    test("sharing a GPU is for them alone", () => {
      assert.throws(() => executorOptions(directory, manifest, { ranksPerDevice: 2 }), {
        code: "ERR_OPTION",
        message: /is for engines of backend "tensorrt"/,
      });
    });
  });

  test("where the ranks run", () => {
    assert.equal(executorOptions(directory, manifest, { isolation: "process" }).isolation, "process");
    assert.throws(() => resolveLoad({ isolation: "thread" as "none" }), {
      code: "ERR_OPTION",
      message: '`isolation` must be "none" or "process", got \'thread\'',
    });
  });

  test("on which hosts", () => {
    const { hosts, launchAgent, secret, startSeconds, exchangeDtype } = executorOptions(directory, manifest, {
      hosts: "a:1,b",
      launchAgent: "ssh -p 2222",
      secret: "sixteen letters!",
      startTimeout: 3,
      exchangeDtype: "bfloat16",
    });
    assert.deepEqual(hosts, ["a", "b"]);
    assert.deepEqual(launchAgent, ["ssh", "-p", "2222"]);
    assert.deepEqual([secret, startSeconds, exchangeDtype], ["sixteen letters!", 3, "bfloat16"]);
    const other = { ...manifest, dtype: "int8" } as const;
    assert.equal(executorOptions(directory, other, { hosts: "a,b" }).exchangeDtype, "bfloat16");
    const wrong = [
      [{ hosts: "a:1,b:2" }, "ERR_RANKS", /places for 3 ranks on 2 hosts/],
      [{ hosts: "a,b", link: "1Gbit,1us" }, "ERR_OPTION", /give one of them/],
      [{ hosts: "a,b", exchangeDtype: "float16" as "float32" }, "ERR_OPTION", /`exchangeDtype` must be/],
    ] as const;
    for (const [options, code, message] of wrong) {
      assert.throws(() => executorOptions(directory, manifest, options), { code, message });
    }
    const trtllm = { ...manifest, backend: "tensorrt-llm" };
    assert.throws(() => executorOptions(directory, trtllm, { hosts: "a,b" }), {
      code: "ERR_OPTION",
      message: /for backends "cpu" and "tensorrt"/,
    });
  });

  test("an emulated link in base units", () => {
    const { linkBytesPerSecond, linkLatencySeconds } = executorOptions(directory, manifest, {
      link: "10Gbit,20us",
    });
    assert.deepEqual([linkBytesPerSecond, linkLatencySeconds], [1.25e9, 20e-6]);
  });

  test("are checked against the model", () => {
    assert.throws(() => executorOptions(directory, manifest, { maxSequenceLength: 65 }), {
      code: "ERR_CONTEXT_LENGTH",
      message: /65, but the model has 64 positions/,
    });
    assert.throws(() => executorOptions(directory, manifest, { maxBatchSize: 0 }), {
      code: "ERR_OPTION",
      message: /`maxBatchSize` must be an integer from 1 to 4096, got 0/,
    });
  });

  test("an engine without communication is for benchmarks only", () => {
    const mute: EngineManifest = { ...manifest, communication: "none" };
    assert.throws(() => executorOptions(directory, mute, {}), {
      code: "ERR_OPTION",
      message: /output is wrong/,
    });
    assert.equal(executorOptions(directory, mute, { communication: "none" }).communication, false);
    assert.throws(() => executorOptions(directory, manifest, { communication: "none" }), {
      code: "ERR_OPTION",
    });
  });
});
