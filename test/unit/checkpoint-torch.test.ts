import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { FileTensor } from "../../lib/checkpoint/checkpoint-index.js";
import { openCheckpoint } from "../../lib/checkpoint/open.js";
import { readTorchCheckpoint } from "../../lib/checkpoint/torch.js";
import {
  krakenArgs,
  temporaryDirectory,
  torchArchive,
  torchCheckpoint,
  torchTensor,
  transformerTensors,
} from "../helpers/checkpoints.js";
import { Call, Global, Tuple } from "../helpers/pickle-writer.js";
import { elementsOf, tensorReader } from "../helpers/tensors.js";
import { zip } from "../helpers/zip-writer.js";

const fixture = join(import.meta.dirname, "../fixtures/kraken-2way-d48/ckpt.pt");
const directory = temporaryDirectory();
const kraken = () => transformerTensors({ ways: 2 });
const write = (contents: Uint8Array | string) => directory.write("ckpt.pt", contents);
const rejects = (path: string, code: string, message: RegExp) =>
  assert.rejects(openCheckpoint(path), (error: Error & { code: string }) => {
    assert.equal(error.code, code, `${error.code}: ${error.message}`);
    assert.match(error.message, message);
    return true;
  });

describe("a checkpoint of the Kraken trainer", () => {
  test("has the configuration of its model_args", async () => {
    const index = await openCheckpoint(fixture);
    assert.equal(index.description, "PyTorch checkpoint of the Kraken trainer");
    assert.equal(index.dtype, "float32");
    assert.deepEqual(index.tokenizer, { kind: "bytes" });
    assert.deepEqual(index.config, {
      architecture: "kraken",
      ways: 2,
      conjunctionBias: false,
      layers: 3,
      hiddenSize: 48,
      heads: 3,
      kvHeads: 3,
      headDim: 16,
      ffnSize: 96,
      vocabSize: 256,
      maxPositions: 64,
      norm: { kind: "layer", eps: 1e-5, bias: false },
      activation: "gelu_tanh",
      positions: { kind: "learned" },
      bias: { qkv: false, attnProj: false, mlp: false, head: false },
      tiedHead: true,
    });
  });

  test("keeps its elements", async () => {
    const path = write(torchCheckpoint(kraken(), krakenArgs));
    const index = await openCheckpoint(path);
    const stored = (await readTorchCheckpoint(path)).tensors.get("transformer.h.1.0.attn.c_attn.weight")!;
    const bytes = readFileSync(path);
    // Value head 1, dimension 3, input 7 is row 2·10 + 5 + 3 of c_attn.
    const expected = bytes.readFloatLE(stored.offset + 4 * ((2 * 10 + 5 + 3) * 10 + 7));
    const v = tensorReader(index)("layers.0.ways.1.attn.v.weight");
    assert.equal(v[(1 * 5 + 3) * 10 + 7], expected);
    assert.deepEqual(index.tensors["conjunction.weight"]!.shape, [10, 2, 10]);
    assert.deepEqual(index.tensors["layers.1.ways.0.attn.proj.weight"]!.shape, [10, 2, 5]);
  });

  test("with biases, trained with torch.compile and DistributedDataParallel", async () => {
    const tensors = transformerTensors({ ways: 2, bias: true, lmHead: true });
    for (const prefix of ["_orig_mod.", "module.", "module._orig_mod."]) {
      const { config, tensors: found } = await openCheckpoint(
        write(torchCheckpoint(tensors, { ...krakenArgs, bias: true }, { prefix })),
      );
      assert.ok(
        config.architecture === "kraken" && config.conjunctionBias && config.norm.bias && config.bias.qkv,
      );
      assert.equal(config.tiedHead, false, "lm_head has bytes of its own");
      assert.ok(found["conjunction.bias"]);
    }
  });

  test("with an optimizer of any dtype, NumPy scalars and devices beside the model", async () => {
    const scalar = new Call(
      new Global("numpy.core.multiarray", "scalar"),
      new Tuple(
        new Call(new Global("numpy", "dtype"), new Tuple("f4", false, true), new Tuple(3, "<", null)),
        new Call(new Global("_codecs", "encode"), new Tuple("\u0000\u0000", "latin1")),
      ),
    );
    const extra = {
      optimizer: { state: new Map([[0, { step: torchTensor("absent", { shape: [1], dtype: "int64" }) }]]) },
      best_val_loss: scalar,
      device: new Call(new Global("torch", "device"), new Tuple("cuda", 0)),
      dtype: new Global("torch", "bfloat16"),
      big: 2n ** 61n,
    };
    await openCheckpoint(write(torchCheckpoint(kraken(), krakenArgs, { extra })));
  });

  test("in float16 and bfloat16, protocol 4, a deflated pickle, zip64", async () => {
    for (const dtype of ["float16", "bfloat16"] as const) {
      const tensors = Object.fromEntries(
        Object.entries(kraken()).map(([name, tensor]) => [name, { ...tensor, dtype }]),
      );
      const options = { protocol: 4, deflate: "pickle", zip64: true } as const;
      assert.equal((await openCheckpoint(write(torchCheckpoint(tensors, krakenArgs, options)))).dtype, dtype);
    }
  });
});

describe("a checkpoint of nanoGPT", () => {
  const args = { n_layer: 2, n_head: 2, n_embd: 10, block_size: 12, bias: false, vocab_size: 17, dropout: 0 };
  test("is a gpt, whose MLP is as wide as its tensors", async () => {
    const { config, description } = await openCheckpoint(
      write(torchCheckpoint(transformerTensors({ f: 40 }), args)),
    );
    assert.equal(config.architecture, "gpt");
    assert.equal(config.ffnSize, 40);
    assert.equal(description, "PyTorch checkpoint of a nanoGPT trainer");
  });

  test("runs as ladder or parallel when asked, never as kraken", async () => {
    const path = write(torchCheckpoint(transformerTensors(), args));
    assert.equal((await openCheckpoint(path, { architecture: "ladder" })).config.architecture, "ladder");
    const { config } = await openCheckpoint(path, { architecture: "parallel" });
    assert.ok(config.architecture === "parallel" && config.separateNorms);
    await assert.rejects(openCheckpoint(path, { architecture: "kraken" }), { code: "ERR_CONFIG" });
    await assert.rejects(openCheckpoint(path, { architecture: "moe" as "gpt" }), { code: "ERR_OPTION" });
    await assert.rejects(openCheckpoint(fixture, { architecture: "gpt" }), { code: "ERR_CONFIG" });
  });

  test("ignores the causal masks of old versions", async () => {
    const tensors = { ...transformerTensors(), "transformer.h.0.attn.bias": { shape: [1, 1, 12, 12] } };
    await openCheckpoint(write(torchCheckpoint(tensors, args)));
  });
});

describe("a plain state dict", () => {
  test("takes its sizes from the config.json beside it", async () => {
    const here = temporaryDirectory();
    here.write("weights.pt", torchCheckpoint(kraken()));
    await rejects(here.path, "ERR_CONFIG", /config\.json/);
    const sizes = { n_layer: 2, n_way: 2, n_head: 2, n_embd: 10, n_positions: 12, vocab_size: 17 };
    here.write("config.json", { model_type: "kraken", ...sizes });
    assert.equal((await openCheckpoint(here.path)).config.architecture, "kraken");
  });
});

describe("views of torch tensors", () => {
  const records = { 0: Buffer.from(Float32Array.from({ length: 24 }, (_, i) => i).buffer) };
  const open = async (view: Parameters<typeof torchTensor>[2], shape = [3, 2]) => {
    const state = { "a.weight": torchTensor("0", { shape }, { length: 24, ...view }) };
    const { tensors } = await readTorchCheckpoint(write(torchArchive(state, records)));
    const { elementBytes: _, ...tensor } = tensors.get("a.weight")!;
    return [...elementsOf("a", { source: "file", ...tensor } as FileTensor)];
  };
  test("keep strides and offsets", async () => {
    assert.deepEqual(await open({ strides: [1, 3], offset: 4 }), [4, 7, 5, 8, 6, 9]);
    assert.deepEqual(await open({ strides: [0, 1], offset: 22 }), [22, 23, 22, 23, 22, 23]);
  });
  test("must lie within their storage", async () => {
    const damaged = { code: "ERR_CHECKPOINT_FORMAT" };
    await assert.rejects(open({ strides: [2, 1], offset: 19 }), damaged);
    await assert.rejects(open({ strides: [2 ** 40, 1] }), damaged);
    await assert.rejects(open({ length: 2 ** 40, offset: 24 }), damaged);
    await assert.rejects(open({ strides: [-2, 1] }), damaged);
    await assert.rejects(open({ strides: [1] }), damaged);
    await assert.rejects(open({}, [2 ** 30, 2 ** 30]), damaged);
  });
});

describe("bad torch checkpoints", () => {
  test("a pickle that imports os.system is refused by name, and nothing runs", async () => {
    for (const [module, name] of [
      ["os", "system"],
      ["posix", "system"],
      ["builtins", "eval"],
      ["torch", "load"],
      ["__main__", "GPTConfig"],
    ] as const) {
      const attack = new Call(new Global(module, name), new Tuple("touch /tmp/kraken-was-here"));
      const path = write(torchCheckpoint(kraken(), krakenArgs, { extra: { attack } }));
      await rejects(
        path,
        "ERR_CHECKPOINT_UNSAFE",
        new RegExp(`\`${module}\\.${name}\`.*[Nn]othing was executed`),
      );
    }
  });

  test("calls of what is no function, storages of no kind", async () => {
    const dtype = new Global("torch", "float32");
    const path = write(torchArchive({ a: new Call(dtype, new Tuple()) }, {}));
    await rejects(path, "ERR_CHECKPOINT_FORMAT", /no function/);
  });

  test("truncated at any point", async () => {
    const whole = torchCheckpoint(kraken(), krakenArgs);
    for (const part of [0, 1, 3, 100, 0.3, 0.6, 0.99, whole.length - 1, whole.length - 23]) {
      const length = part < 1 && part > 0 ? Math.floor(part * whole.length) : part;
      await assert.rejects(openCheckpoint(write(whole.subarray(0, length))), {
        code: "ERR_CHECKPOINT_FORMAT",
      });
    }
  });

  test("any byte of the pickle or the directory changed: a coded error or the same tensors", async () => {
    const whole = torchCheckpoint(transformerTensors({ ways: 1, layers: 1 }), {
      ...krakenArgs,
      n_head: 2,
      n_layer: 1,
    });
    for (let at = 0; at < whole.length; at += 131) {
      const changed = Buffer.from(whole);
      changed[at]! ^= 0x41;
      await openCheckpoint(write(changed)).catch((error) =>
        assert.match(error.code, /^ERR_C/, `byte ${at}: ${error.stack}`),
      );
    }
  });

  test("foreign files are named", async () => {
    const legacy = Buffer.concat([
      Buffer.from("80028a0a6cfc9c46f9206aa850192e80024de903", "hex"),
      Buffer.alloc(100),
    ]);
    const tar = Buffer.alloc(1024);
    tar.write("ustar", 257);
    for (const [contents, message] of [
      [legacy, /legacy format.*torch\.save/],
      [tar, /legacy format/],
      ["version https://git-lfs.github.com/spec/v1\noid sha256:1\n", /git lfs pull/],
      ["<!DOCTYPE html><html></html>", /HTML/],
      ["GGUF\u0003", /GGUF/],
      [Buffer.from([0x80, 4, 0x95, 1]), /pickle/],
      [Buffer.alloc(4096, 7), /not a format/],
      ["", /empty/],
    ] as const) {
      await rejects(write(contents), "ERR_CHECKPOINT_FORMAT", message);
    }
    await rejects(
      write(zip([{ name: "a.txt", data: Buffer.from("hello") }])),
      "ERR_CHECKPOINT_FORMAT",
      /data\.pkl/,
    );
  });

  test("compressed storages, other byte order, encryption", async () => {
    await rejects(
      write(torchCheckpoint(kraken(), krakenArgs, { deflate: "all" })),
      "ERR_CHECKPOINT_FORMAT",
      /compressed.*torch\.save/,
    );
    await rejects(
      write(torchCheckpoint(kraken(), krakenArgs, { byteorder: "big" })),
      "ERR_CHECKPOINT_FORMAT",
      /big-endian/,
    );
    const encrypted = zip([{ name: "ckpt/data.pkl", data: Buffer.from("x"), encrypted: true }]);
    await rejects(write(encrypted), "ERR_CHECKPOINT_FORMAT", /encrypted/);
  });

  test("tensors missing, extra, misshapen, of another dtype", async () => {
    const tensors = kraken();
    const { "transformer.h.1.0.mlp.c_fc.weight": _, ...missing } = tensors;
    await rejects(
      write(torchCheckpoint(missing, krakenArgs)),
      "ERR_CHECKPOINT_TENSORS",
      /h\.1\.0\.mlp\.c_fc\.weight is missing/,
    );
    const extra = { ...tensors, "transformer.h.2.0.ln_1.weight": { shape: [10] } };
    await rejects(
      write(torchCheckpoint(extra, krakenArgs)),
      "ERR_CHECKPOINT_TENSORS",
      /h\.2\.0\.ln_1\.weight is not known/,
    );
    const misshapen = { ...tensors, "transformer.ln_f.weight": { shape: [11] } };
    await rejects(
      write(torchCheckpoint(misshapen, krakenArgs)),
      "ERR_CHECKPOINT_TENSORS",
      /ln_f\.weight has shape \[11\], expected \[10\]/,
    );
    const integers = { ...tensors, "transformer.ln_f.weight": { shape: [10], dtype: "int64" as const } };
    await rejects(
      write(torchCheckpoint(integers, krakenArgs)),
      "ERR_CHECKPOINT_DTYPE",
      /ln_f\.weight is int64/,
    );
    await rejects(write(torchArchive({ epoch: 3 }, {})), "ERR_CHECKPOINT_TENSORS", /no state dict.*epoch/);
  });

  test("model_args that contradict themselves", async () => {
    const { n_layer: _, ...missing } = krakenArgs;
    await rejects(write(torchCheckpoint(kraken(), missing)), "ERR_CONFIG", /n_layer.*missing/);
    await rejects(
      write(torchCheckpoint(kraken(), { ...krakenArgs, n_heads_in_split: 3 })),
      "ERR_CONFIG",
      /divide/,
    );
    await rejects(write(torchCheckpoint(kraken(), { ...krakenArgs, n_embd: "ten" })), "ERR_CONFIG", /n_embd/);
  });

  test("no such file", async () => {
    await rejects(join(directory.path, "absent.pt"), "ERR_IO", /absent\.pt.*no such file/);
  });
});
