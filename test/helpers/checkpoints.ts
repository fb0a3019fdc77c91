/** Writes checkpoints for tests: torch archives, safetensors and the names and sizes of small models. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { Call, Global, Persistent, pickle, Tuple } from "./pickle-writer.js";
import { type ZipInput, zip } from "./zip-writer.js";

export type TestDType = "float32" | "float16" | "bfloat16" | "int64";

export interface TestTensor {
  shape: number[];
  dtype?: TestDType;
  /** Row-major; given for two-byte dtypes as bits. Default: 0.01·(element number mod 97) + index of the tensor. */
  values?: number[];
}

const elementBytes: Record<TestDType, number> = { float32: 4, float16: 2, bfloat16: 2, int64: 8 };

function tensorBytes({ shape, dtype = "float32", values }: TestTensor, index: number): Buffer {
  const count = shape.reduce((a, b) => a * b, 1);
  const bytes = Buffer.alloc(count * elementBytes[dtype]);
  for (let i = 0; i < count; i++) {
    const value = values
      ? values[i]!
      : dtype === "float32"
        ? 0.01 * (i % 97) + index
        : (i * 7 + index) & 0x3fff;
    if (dtype === "float32") bytes.writeFloatLE(value, 4 * i);
    else if (dtype === "int64") bytes.writeBigInt64LE(BigInt(value), 8 * i);
    else bytes.writeUInt16LE(value, 2 * i);
  }
  return bytes;
}

const storageClasses: Record<TestDType, string> = {
  float32: "FloatStorage",
  float16: "HalfStorage",
  bfloat16: "BFloat16Storage",
  int64: "LongStorage",
};

/** A tensor in a torch pickle; strides, offset and storage length as given. */
export function torchTensor(
  key: string,
  { shape, dtype = "float32" }: TestTensor,
  view: { strides?: number[]; offset?: number; length?: number } = {},
): Call {
  const strides = view.strides ?? shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const length = view.length ?? shape.reduce((a, b) => a * b, 1);
  const storage = new Tuple("storage", new Global("torch", storageClasses[dtype]), key, "cpu", length);
  return new Call(
    new Global("torch._utils", "_rebuild_tensor_v2"),
    new Tuple(
      new Persistent(storage),
      view.offset ?? 0,
      new Tuple(...shape),
      new Tuple(...strides),
      false,
      new Call(new Global("collections", "OrderedDict"), new Tuple()),
    ),
  );
}

/** The records of an archive around a pickled value. */
export function torchArchive(
  value: unknown,
  records: Record<string, Uint8Array>,
  options: { byteorder?: string; protocol?: number; deflate?: "pickle" | "all"; zip64?: boolean } = {},
): Buffer {
  const { byteorder = "little", protocol = 2, deflate, zip64 = false } = options;
  const inputs: ZipInput[] = [
    { name: "ckpt/data.pkl", data: pickle(value, { protocol }), deflate: deflate !== undefined },
    { name: "ckpt/byteorder", data: Buffer.from(byteorder) },
    ...Object.entries(records).map(([key, data]) => ({
      name: `ckpt/data/${key}`,
      data,
      deflate: deflate === "all",
    })),
    { name: "ckpt/version", data: Buffer.from("3\n") },
  ];
  return zip(inputs, { zip64 });
}

/** A torch checkpoint as trainers save it: {model, optimizer, model_args, iter_num}; a plain state dict without args. */
export function torchCheckpoint(
  tensors: Record<string, TestTensor>,
  modelArgs?: Record<string, unknown>,
  options: Parameters<typeof torchArchive>[2] & { extra?: Record<string, unknown>; prefix?: string } = {},
): Buffer {
  const { extra = {}, prefix = "", ...archive } = options;
  const records: Record<string, Uint8Array> = {};
  const state = new Map<string, unknown>();
  for (const [index, [name, tensor]] of Object.entries(tensors).entries()) {
    records[index] = tensorBytes(tensor, index);
    state.set(prefix + name, torchTensor(`${index}`, tensor));
  }
  const value = modelArgs
    ? { model: state, optimizer: {}, model_args: modelArgs, iter_num: 7, ...extra }
    : state;
  return torchArchive(value, records, archive);
}

const safetensorsNames: Record<TestDType, string> = {
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  int64: "I64",
};

export function safetensors(tensors: Record<string, TestTensor>): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  const data: Buffer[] = [];
  let begin = 0;
  for (const [index, [name, tensor]] of Object.entries(tensors).entries()) {
    const bytes = tensorBytes(tensor, index);
    const end = begin + bytes.length;
    const dtype = safetensorsNames[tensor.dtype ?? "float32"];
    header[name] = { dtype, shape: tensor.shape, data_offsets: [begin, end] };
    data.push(bytes);
    begin = end;
  }
  return safetensorsFile(header, Buffer.concat(data));
}

/** Any header before any data. */
export function safetensorsFile(header: unknown, data: Uint8Array = new Uint8Array()): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header), "utf8");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/** model_args of a small Kraken, as the authors' trainer saves them. */
export const krakenArgs = {
  n_layer: 2,
  n_head: 4,
  n_embd: 10,
  block_size: 12,
  bias: false,
  vocab_size: 17,
  dropout: 0.0,
  n_heads_in_split: 2,
  is_split: true,
  ffn_expansion: 3,
};

/** The tensors of a model in the layout of the authors and of nanoGPT; 2 ways when `ways` is given. */
export function transformerTensors({
  layers = 2,
  ways,
  d = 10,
  f = 30,
  vocab = 17,
  positions = 12,
  bias = false,
  lmHead = false,
}: {
  layers?: number;
  ways?: number;
  d?: number;
  f?: number;
  vocab?: number;
  positions?: number;
  bias?: boolean;
  lmHead?: boolean;
} = {}): Record<string, TestTensor> {
  const tensors: Record<string, TestTensor> = {};
  const add = (name: string, ...shape: number[]) => {
    tensors[`${name}.weight`] = { shape };
    if (bias && !/wte|wpe|lm_head/.test(name)) tensors[`${name}.bias`] = { shape: [shape[0]!] };
  };
  add("transformer.wte", vocab, d);
  add("transformer.wpe", positions, d);
  for (let way = 0; way < (ways ?? 1); way++) {
    for (let layer = 0; layer < layers; layer++) {
      const at = `transformer.h.${ways === undefined ? "" : `${way}.`}${layer}`;
      add(`${at}.ln_1`, d);
      add(`${at}.attn.c_attn`, 3 * d, d);
      add(`${at}.attn.c_proj`, d, d);
      add(`${at}.ln_2`, d);
      add(`${at}.mlp.c_fc`, f, d);
      add(`${at}.mlp.c_proj`, d, f);
    }
  }
  if (ways !== undefined) add("transformer.conjunction", d, ways * d);
  add("transformer.ln_f", d);
  if (lmHead) add("lm_head", vocab, d);
  return tensors;
}

/** A directory that is removed when the tests of the file are done. */
export function temporaryDirectory(): {
  write(name: string, contents: string | Uint8Array | object): string;
  path: string;
} {
  const path = mkdtempSync(join(tmpdir(), "kraken-checkpoint-"));
  after(() => rmSync(path, { recursive: true, force: true }));
  return {
    path,
    write(name, contents) {
      const file = join(path, name);
      const plain = typeof contents === "object" && !(contents instanceof Uint8Array);
      writeFileSync(file, plain ? JSON.stringify(contents) : (contents as string | Uint8Array));
      return file;
    },
  };
}
