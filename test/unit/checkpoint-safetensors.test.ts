import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { openCheckpoint } from "../../lib/checkpoint/open.js";
import { readSafetensors, readSharded } from "../../lib/checkpoint/safetensors.js";
import {
  safetensors,
  safetensorsFile,
  temporaryDirectory,
  transformerTensors,
} from "../helpers/checkpoints.js";
import { tensorReader } from "../helpers/tensors.js";

const fixture = join(import.meta.dirname, "../fixtures/hf-gpt2");
const directory = temporaryDirectory();
const write = (contents: Uint8Array | string) => directory.write("model.safetensors", contents);
const rejects = (contents: Uint8Array | string, message: RegExp) =>
  assert.rejects(readSafetensors(write(contents)), (error: Error & { code: string }) => {
    assert.equal(error.code, "ERR_CHECKPOINT_FORMAT", error.message);
    assert.match(error.message, message);
    return true;
  });
const sizes = { n_layer: 2, n_head: 2, n_embd: 10, n_positions: 12, vocab_size: 17 };

describe("safetensors", () => {
  test("say where tensors lie", async () => {
    const path = join(fixture, "model.safetensors");
    const tensors = await readSafetensors(path);
    assert.equal(tensors.size, 40);
    const { offset, shape, strides, dtype } = tensors.get("transformer.h.1.mlp.c_fc.weight")!;
    assert.deepEqual({ shape, strides, dtype }, { shape: [48, 192], strides: [192, 1], dtype: "float32" });
    // Conv1D is [in, out]: the canonical [f, d] element (5, 7) is the stored (7, 5).
    const up = tensorReader(await openCheckpoint(fixture))("layers.1.ways.0.mlp.up.weight");
    assert.equal(up[5 * 48 + 7], readFileSync(path).readFloatLE(offset + 4 * (7 * 192 + 5)));
  });

  test("open as a file with config.json beside it, and as its directory", async () => {
    const here = temporaryDirectory();
    const file = here.write("model.safetensors", safetensors(transformerTensors({ ways: 2 })));
    await assert.rejects(openCheckpoint(file), { code: "ERR_CONFIG", message: /config\.json/ });
    here.write("config.json", { model_type: "kraken", n_way: 2, ...sizes });
    assert.deepEqual(await openCheckpoint(file), await openCheckpoint(here.path));
  });

  test("of another name open when they are the only weights", async () => {
    const here = temporaryDirectory();
    here.write("weights.safetensors", safetensors(transformerTensors()));
    here.write("config.json", { model_type: "ladder", ...sizes });
    assert.equal((await openCheckpoint(here.path)).config.architecture, "ladder");
    here.write("more.safetensors", safetensors(transformerTensors()));
    await assert.rejects(openCheckpoint(here.path), {
      code: "ERR_CHECKPOINT_FORMAT",
      message: /more\.safetensors, weights\.safetensors.*name the one/,
    });
  });

  test("truncated at any point", async () => {
    const whole = safetensors(transformerTensors());
    for (const length of [0, 1, 7, 8, 9, 500, whole.length - 1, Math.floor(whole.length / 2)]) {
      await rejects(whole.subarray(0, length), /empty|beyond the end|beyond the file|not a format|JSON/);
    }
  });

  test("hostile headers", async () => {
    const huge = Buffer.alloc(16);
    huge.writeBigUInt64LE(2n ** 63n);
    await rejects(huge, /expected a safetensors file/);
    huge.writeBigUInt64LE(99_999_999n);
    await rejects(huge, /beyond the end of the file/);
    await rejects(safetensorsFile("{not json"), /not valid JSON/);
    await rejects(safetensorsFile("[1]"), /expected a safetensors file/);
    await rejects(safetensorsFile("{} []"), /not valid JSON/);
    const data = Buffer.alloc(16);
    const entry = (changes: object) =>
      safetensorsFile({ a: { dtype: "F32", shape: [2], data_offsets: [0, 8], ...changes } }, data);
    await readSafetensors(write(entry({})));
    await rejects(entry({ shape: [3] }), /a of shape \[3\] and dtype F32 cannot have 8 bytes/);
    await rejects(entry({ shape: [-2] }), /\{dtype, shape, data_offsets\}/);
    await rejects(entry({ shape: [2 ** 53] }), /\{dtype, shape, data_offsets\}/);
    await rejects(entry({ shape: [2 ** 30, 2 ** 30, 2 ** 30] }), /cannot have 8 bytes/);
    await rejects(entry({ shape: "2" }), /\{dtype, shape, data_offsets\}/);
    await rejects(entry({ dtype: 5 }), /\{dtype, shape, data_offsets\}/);
    await rejects(entry({ data_offsets: [8, 0] }), /beyond/);
    await rejects(entry({ data_offsets: [16, 24] }), /beyond the file's data/);
    await rejects(entry({ data_offsets: [0] }), /\{dtype, shape, data_offsets\}/);
    await rejects(safetensorsFile({ a: null }), /\{dtype, shape, data_offsets\}/);
    const overlapping = {
      a: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
      b: { dtype: "F32", shape: [2], data_offsets: [4, 12] },
    };
    await rejects(safetensorsFile(overlapping, data), /b overlaps a/);
  });

  test("foreign files", async () => {
    await rejects("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", /git lfs pull/);
    await rejects("<html>404</html>", /HTML/);
  });

  test("dtypes that the engine cannot read are named, with the tensor", async () => {
    const here = temporaryDirectory();
    const tensors = transformerTensors();
    tensors["transformer.h.1.ln_1.weight"] = { shape: [10], dtype: "int64" };
    here.write("model.safetensors", safetensors(tensors));
    here.write("config.json", { model_type: "gpt", ...sizes });
    await assert.rejects(openCheckpoint(here.path), {
      code: "ERR_CHECKPOINT_DTYPE",
      message: /transformer\.h\.1\.ln_1\.weight is int64.*float32, float16 or bfloat16/,
    });
    const header = { a: { dtype: "F4", shape: [2], data_offsets: [0, 1] } };
    assert.equal(
      (await readSafetensors(write(safetensorsFile(header, Buffer.alloc(1))))).get("a")!.dtype,
      "F4",
    );
  });
});

describe("sharded safetensors", () => {
  const here = temporaryDirectory();
  const tensors = Object.entries(transformerTensors({ ways: 2 }));
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const shards = [tensors.slice(0, 9), tensors.slice(9)].map((part) => safetensors(Object.fromEntries(part)));
  for (const [i, name] of names.entries()) here.write(name, shards[i]!);
  const weight_map = Object.fromEntries(tensors.map(([name], i) => [name, names[i < 9 ? 0 : 1]]));
  const indexName = "model.safetensors.index.json";
  here.write("config.json", { model_type: "kraken", n_way: 2, ...sizes });
  const rejectsIndex = (index: unknown, message: RegExp, code = "ERR_CHECKPOINT_FORMAT") =>
    assert.rejects(readSharded(here.write(indexName, index as object), readSafetensors), { code, message });

  test("open through their index", async () => {
    const index = here.write(indexName, { metadata: {}, weight_map });
    const opened = await openCheckpoint(here.path);
    assert.equal(opened.description, "safetensors checkpoint of a kraken model, sharded");
    assert.deepEqual(await openCheckpoint(index), opened);
  });

  test("indexes that lie", async () => {
    await rejectsIndex({}, /weight_map/);
    await rejectsIndex({ weight_map: [] }, /weight_map/);
    await rejectsIndex({ weight_map: { a: "../../etc/passwd" } }, /must be a file name beside it/);
    await rejectsIndex({ weight_map: { a: ".." } }, /must be a file name beside it/);
    await rejectsIndex({ weight_map: { a: 3 } }, /must be a file name beside it/);
    await rejectsIndex({ weight_map: { absent: names[0] } }, /says absent is in .*, but it is not/);
    await rejectsIndex({ weight_map: { a: "missing.safetensors" } }, /missing\.safetensors/, "ERR_IO");
    await rejectsIndex("not json", /not valid JSON/, "ERR_CONFIG");
  });
});

describe("directories", () => {
  test("without weights, or of an engine", async () => {
    const here = temporaryDirectory();
    await assert.rejects(openCheckpoint(here.path), {
      code: "ERR_CHECKPOINT_FORMAT",
      message: /no weights found/,
    });
    here.write("rank0.engine", "");
    await assert.rejects(openCheckpoint(here.path), {
      code: "ERR_CHECKPOINT_FORMAT",
      message: /built engine/,
    });
  });
});
