/** safetensors files: the header says where each tensor lies. One file, or shards with an index. */
import { dirname, join } from "node:path";
import { CheckpointError } from "../errors.js";
import { FileReader, parseJsonObject, readJsonObject } from "./file-reader.js";
import { foreignFileError } from "./foreign-file.js";
import { contiguousStrides, elementCount, type StoredTensor, type StoredTensors } from "./stored-tensor.js";

/** The format's own bound on a header. */
const headerLimit = 100_000_000;

const dtypes: Record<string, [name: string, bytes: number]> = {
  F64: ["float64", 8],
  F32: ["float32", 4],
  F16: ["float16", 2],
  BF16: ["bfloat16", 2],
  I64: ["int64", 8],
  I32: ["int32", 4],
  I16: ["int16", 2],
  I8: ["int8", 1],
  U64: ["uint64", 8],
  U32: ["uint32", 4],
  U16: ["uint16", 2],
  U8: ["uint8", 1],
  BOOL: ["bool", 1],
  F8_E4M3: ["float8_e4m3fn", 1],
  F8_E5M2: ["float8_e5m2", 1],
};

/**
 * Where the tensors of one safetensors file lie.
 * @throws CheckpointError ERR_CHECKPOINT_FORMAT (foreign, truncated, or a header that contradicts the file);
 *   RuntimeError ERR_IO
 */
export async function readSafetensors(path: string): Promise<StoredTensors> {
  await using file = await FileReader.open(path);
  if (file.size < 8)
    throw foreignFileError(path, await file.read(0, file.size, "its header"), "a safetensors file");
  const length = Number((await file.read(0, 8, "its header")).readBigUInt64LE(0));
  if (length < 2 || length > headerLimit) {
    throw foreignFileError(
      path,
      await file.read(0, Math.min(512, file.size), "its beginning"),
      "a safetensors file",
    );
  }
  const bytes = await file.read(8, length, "its header");
  if (bytes[0] !== 0x7b /* { */) {
    throw foreignFileError(
      path,
      await file.read(0, Math.min(512, file.size), "its beginning"),
      "a safetensors file",
    );
  }
  const header = parseJsonObject(bytes.toString("utf8"), `${path} (header)`, "ERR_CHECKPOINT_FORMAT");
  return parseHeader(file, header, 8 + length);
}

function parseHeader(file: FileReader, header: Record<string, unknown>, dataStart: number): StoredTensors {
  const fail = (what: string): never => {
    throw new CheckpointError("ERR_CHECKPOINT_FORMAT", `${file.path}: ${what}`);
  };
  const tensors: StoredTensors = new Map();
  const ranges: { name: string; begin: number; end: number }[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: range } = (entry ?? {}) as Record<string, unknown>;
    if (typeof dtype !== "string" || !isSizes(shape) || !isSizes(range) || range.length !== 2) {
      return fail(`the header's entry for ${name} is not {dtype, shape, data_offsets}`);
    }
    const [begin, end] = range as [number, number];
    if (begin > end || dataStart + end > file.size) {
      return fail(
        `${name} (bytes ${begin} to ${end}) lies beyond the file's data (${file.size - dataStart} bytes): truncated or damaged`,
      );
    }
    const [known, elementBytes] = dtypes[dtype] ?? [dtype, 0];
    if (elementBytes > 0 && elementCount(shape) * elementBytes !== end - begin) {
      return fail(`${name} of shape [${shape}] and dtype ${dtype} cannot have ${end - begin} bytes`);
    }
    ranges.push({ name, begin, end });
    const strides = contiguousStrides(shape);
    tensors.set(name, {
      file: file.path,
      offset: dataStart + begin,
      dtype: known,
      elementBytes,
      shape,
      strides,
    });
  }
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  for (let i = 1; i < ranges.length; i++) {
    if (ranges[i]!.begin < ranges[i - 1]!.end)
      return fail(`${ranges[i]!.name} overlaps ${ranges[i - 1]!.name}`);
  }
  return tensors;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((entry) => Number.isSafeInteger(entry) && entry >= 0);
}

/**
 * The tensors of a sharded checkpoint. `readShard` reads one file of it.
 * @param indexPath `model.safetensors.index.json`, or `pytorch_model.bin.index.json`
 * @throws CheckpointError ERR_CHECKPOINT_FORMAT; RuntimeError ERR_IO
 */
export async function readSharded(
  indexPath: string,
  readShard: (path: string) => Promise<StoredTensors>,
): Promise<StoredTensors> {
  const { weight_map: map } = await readJsonObject(indexPath);
  const fail = (what: string): never => {
    throw new CheckpointError("ERR_CHECKPOINT_FORMAT", `${indexPath}: ${what}`);
  };
  if (typeof map !== "object" || map === null || Array.isArray(map)) return fail("has no `weight_map`");
  const shards = new Map<string, StoredTensors>();
  const tensors: StoredTensors = new Map();
  for (const [name, shard] of Object.entries(map as Record<string, unknown>)) {
    // A name with a folder in it could point anywhere on this machine.
    if (typeof shard !== "string" || !/^[^/\\]+$/.test(shard) || shard.startsWith("..")) {
      return fail(`the file of ${name} must be a file name beside it, got ${JSON.stringify(shard)}`);
    }
    let stored = shards.get(shard);
    if (!stored) {
      stored = await readShard(join(dirname(indexPath), shard));
      shards.set(shard, stored);
    }
    const tensor: StoredTensor | undefined = stored.get(name);
    if (!tensor) return fail(`says ${name} is in ${shard}, but it is not`);
    tensors.set(name, tensor);
  }
  return tensors;
}
