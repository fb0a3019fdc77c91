/** What can go wrong with engine directories, against the real addon: coded errors, no crash, nothing left behind. */
import assert from "node:assert/strict";
import { cp, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { buildEngine, Engine, type KrakenError } from "../../lib/index.js";
import { buildTiny, runScript } from "../helpers/child.js";

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-bad-"));
  engine = join(root, "tiny");
  await buildTiny(engine);
});
after(() => rm(root, { recursive: true, force: true }));

let copies = 0;
async function copy(): Promise<string> {
  const path = join(root, `copy-${copies++}`);
  await cp(engine, path, { recursive: true });
  return path;
}

async function flipByte(file: string, at: number): Promise<void> {
  const handle = await open(file, "r+");
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, at);
  byte[0]! ^= 0x10;
  await handle.write(byte, 0, 1, at);
  await handle.close();
}

describe("loading", () => {
  test("an engine with a changed byte", async () => {
    const path = await copy();
    const { size } = await stat(join(path, "rank1.engine"));
    await flipByte(join(path, "rank1.engine"), size - 7);
    await assert.rejects(Engine.load(path), {
      code: "ERR_ENGINE_CORRUPT",
      message: /rank1\.engine has changed/,
    });
  });

  test("a damaged header, without the check of checksums", async () => {
    for (const at of [0, 3, 7, 8, 9, 40, 200]) {
      const path = await copy();
      await flipByte(join(path, "rank0.engine"), at);
      try {
        await (await Engine.load(path, { verify: false })).dispose();
      } catch (error) {
        assert.match((error as { code: string }).code, /^ERR_(ENGINE_CORRUPT|IO)$/, `byte ${at}: ${error}`);
      }
    }
  });

  test("an engine with a truncated or missing file", async () => {
    const path = await copy();
    await truncate(join(path, "rank0.engine"), 5000);
    await assert.rejects(Engine.load(path), { code: "ERR_ENGINE_CORRUPT" });
    await rm(join(path, "rank0.engine"));
    await assert.rejects(Engine.load(path), { code: "ERR_ENGINE_CORRUPT", message: /missing/ });
  });

  test("an engine of a newer format", async () => {
    const path = await copy();
    const text = await readFile(join(path, "config.json"), "utf8");
    await writeFile(join(path, "config.json"), text.replace('"formatVersion": 1', '"formatVersion": 99'));
    await assert.rejects(Engine.load(path), { code: "ERR_ENGINE_VERSION", message: /99/ });
  });

  test("for another backend", async () => {
    await assert.rejects(Engine.load(engine, { backend: "tensorrt" }), { code: "ERR_ENGINE_BACKEND" });
  });

  test("aborted", async () => {
    const reason = new Error("not today");
    await assert.rejects(Engine.load(engine, { signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const loading = Engine.load(engine, { verify: false, signal: controller.signal });
    setTimeout(() => controller.abort(reason), 1);
    await assert.rejects(async () => {
      await (await loading).dispose(); // it may have been faster
      throw reason;
    }, reason);
  });
});

describe("building", () => {
  test("on a full disk leaves nothing behind", async () => {
    const output = join(root, "full", "engine");
    const script = `
const { buildEngine } = await import(library);
try {
  await buildEngine({ random: "kraken-tiny-2way", output: engine });
} catch (error) {
  console.log(error.name, error.code, error.message);
}`;
    const result = await runScript(script, { engine: output, limitFileKiB: 64 });
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /RuntimeError ERR_IO .*rank0\.engine/);
    assert.ok(!(await readdir(root)).includes("full"));
  });

  test("from weights that hold NaN, or from a file that was cut, leaves nothing behind", async () => {
    const fixture = fileURLToPath(new URL("../fixtures/hf-gpt2", import.meta.url));
    const weights = await readFile(join(fixture, "model.safetensors"));
    const damages: [string, Buffer, RegExp][] = [
      ["nan", Buffer.from(weights), /^ERR_CHECKPOINT_VALUES$/],
      ["cut", weights.subarray(0, weights.length - 1000), /^ERR_CHECKPOINT_FORMAT$/],
    ];
    damages[0]![1].writeFloatLE(Number.NaN, weights.length - 400);
    for (const [name, bytes, code] of damages) {
      const checkpoint = join(root, name);
      await cp(fixture, checkpoint, { recursive: true });
      await writeFile(join(checkpoint, "model.safetensors"), bytes);
      const output = join(root, `from-${name}`, "engine");
      await assert.rejects(buildEngine({ checkpoint, output }), (error: KrakenError) => {
        assert.match(error.code, code);
        return true;
      });
      assert.ok(!(await readdir(root)).includes(`from-${name}`));
    }
  });

  test("for ranks that do not divide the ways says which would", async () => {
    const building = buildEngine({ random: "kraken-tiny-2way", ranks: 3, output: join(root, "three") });
    await assert.rejects(building, { code: "ERR_RANKS", message: /got 3; 1 or 2 would work/ });
    assert.ok(!(await readdir(root)).includes("three"));
  });
});

describe("requests", () => {
  test("that can never fit the key/value cache, or outgrow it, or are too many", async () => {
    await using loaded = await Engine.load(engine, { kvCacheTokens: 64, maxQueue: 2, maxBatchSize: 1 });
    const options = { maxTokens: 40, ignoreEos: true };
    const long = new Array(80).fill(1);
    await assert.rejects(async () => loaded.generate(long, options), { code: "ERR_OUT_OF_KV_CACHE" });
    await assert.rejects(async () => loaded.generate(long.slice(0, 50), options), {
      code: "ERR_OUT_OF_KV_CACHE",
    });
    const runs = Array.from({ length: 12 }, () => loaded.generate([1], options));
    const codes = (await Promise.allSettled(runs)).map((run) =>
      run.status === "fulfilled" ? run.value.finishReason : run.reason.code,
    );
    assert.ok(codes.includes("length") && codes.includes("ERR_QUEUE_FULL"), codes.join());
    assert.equal((await loaded.generate([1], options)).tokens.length, 40);
  });
});
