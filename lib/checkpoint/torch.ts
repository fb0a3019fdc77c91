/**
 * Checkpoints in PyTorch's zip format: `ckpt.pt` of the Kraken authors' trainer and of nanoGPT, plain state dicts, and
 * Hugging Face's pytorch_model.bin. The pickle is read, never executed (pickle.ts); of the weights only their place.
 */
import { CheckpointError } from "../errors.js";
import { FileReader } from "./file-reader.js";
import { defaultLimits, type PickleLimits, unpickle } from "./pickle.js";
import type { StoredTensor, StoredTensors } from "./stored-tensor.js";
import { isTensorReference, type TensorReference, torchHost } from "./torch-globals.js";
import { ZipArchive } from "./zip.js";

export interface TorchCheckpoint {
  /** The model's state dict, without the prefixes that torch.compile and DistributedDataParallel add. */
  tensors: StoredTensors;
  /** What nanoGPT-style trainers save beside it: n_layer, n_head, n_embd, …; absent in a plain state dict. */
  modelArgs?: Record<string, unknown>;
}

const pickleLimit = 64 * 1024 * 1024;
/** Where trainers put the state dict. */
const stateDictKeys = ["model", "state_dict", "model_state_dict"];

/**
 * Reads where the tensors of a torch checkpoint lie. The optimizer's are not looked at.
 * @throws CheckpointError ERR_CHECKPOINT_FORMAT (damaged, legacy, compressed or big-endian), ERR_CHECKPOINT_UNSAFE,
 *   ERR_CHECKPOINT_TENSORS (no state dict in it); RuntimeError ERR_IO
 */
export async function readTorchCheckpoint(
  path: string,
  limits: PickleLimits = defaultLimits,
): Promise<TorchCheckpoint> {
  await using file = await FileReader.open(path);
  const archive = await ZipArchive.open(file);
  const root = rootOf(file.path, archive);
  await checkByteOrder(file.path, archive, root);
  const pickle = await archive.read(archive.entries.get(`${root}data.pkl`)!, pickleLimit);
  const value = unpickle(pickle, torchHost(file.path), file.path, limits);
  const { stateDict, modelArgs } = findStateDict(file.path, value);

  const tensors: StoredTensors = new Map();
  const records = new RecordOffsets(file.path, archive, root);
  for (const [key, reference] of stateDict) {
    if (typeof key !== "string" || !isTensorReference(reference)) continue;
    const name = stripPrefixes(key);
    if (tensors.has(name)) {
      throw new CheckpointError("ERR_CHECKPOINT_TENSORS", `${file.path}: two tensors are named ${name}`);
    }
    tensors.set(name, await records.locate(name, reference));
  }
  return modelArgs ? { tensors, modelArgs } : { tensors };
}

/** The folder all records are in, with its slash; "" when there is none. */
function rootOf(path: string, archive: ZipArchive): string {
  const pickles = [...archive.entries.keys()].filter((name) => /^([^/]+\/)?data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw new CheckpointError(
      "ERR_CHECKPOINT_FORMAT",
      `${path}: a zip archive, but not one that torch.save wrote: it has ${pickles.length} data.pkl, expected 1`,
    );
  }
  return pickles[0]!.slice(0, -"data.pkl".length);
}

async function checkByteOrder(path: string, archive: ZipArchive, root: string): Promise<void> {
  const entry = archive.entries.get(`${root}byteorder`);
  const order = entry ? (await archive.read(entry, 64)).toString("latin1") : "little";
  if (order !== "little") {
    throw new CheckpointError(
      "ERR_CHECKPOINT_FORMAT",
      `${path}: its numbers are stored ${order}-endian; load it on that machine and save it as safetensors`,
    );
  }
}

/** `_orig_mod.` is torch.compile's, `module.` DistributedDataParallel's; they come in any order. */
function stripPrefixes(name: string): string {
  return name.replace(/^((_orig_mod|module)\.)+/, "");
}

/** A dict with weights in it; entries that are no tensors (modules' extra state) are passed over. */
function isStateDict(value: unknown): value is Map<unknown, unknown> {
  return (
    value instanceof Map &&
    [...value].some(
      ([key, entry]) => typeof key === "string" && key.endsWith(".weight") && isTensorReference(entry),
    )
  );
}

function findStateDict(path: string, value: unknown) {
  if (value instanceof Map) {
    const stateDict = [...stateDictKeys.map((key) => value.get(key)), value].find(isStateDict);
    const args: unknown = value.get("model_args");
    if (stateDict) return { stateDict, modelArgs: args instanceof Map ? plainObject(args) : undefined };
  }
  const keys = value instanceof Map ? `; it has ${[...value.keys()].slice(0, 8).map(String).join(", ")}` : "";
  throw new CheckpointError(
    "ERR_CHECKPOINT_TENSORS",
    `${path}: no state dict found: expected tensors by name, at the top or under ${stateDictKeys.join(", ")}${keys}`,
  );
}

/** The entries of a dict that are plain values. */
function plainObject(map: Map<unknown, unknown>): Record<string, unknown> {
  const plain = [...map].filter(
    ([key, value]) => typeof key === "string" && (value === null || typeof value !== "object"),
  );
  return Object.fromEntries(plain) as Record<string, unknown>;
}

/** Where storages lie in the file; tensors share them. */
class RecordOffsets {
  private readonly known = new Map<string, { offset: number; size: number }>();

  constructor(
    private readonly path: string,
    private readonly archive: ZipArchive,
    private readonly root: string,
  ) {}

  /** @throws CheckpointError ERR_CHECKPOINT_FORMAT when the tensor does not lie within its record */
  async locate(name: string, tensor: TensorReference): Promise<StoredTensor> {
    const { shape, strides, storage, dtype } = tensor;
    const record = await this.record(name, storage.key);
    const storageBytes = storage.length * (storage.dtype?.bytes ?? 1);
    const last = shape.reduce((sum, extent, i) => sum + (extent - 1) * strides[i]!, tensor.offset);
    const end = shape.includes(0) ? 0 : (last + 1) * dtype.bytes;
    if (!(end <= Math.min(record.size, storageBytes))) {
      throw new CheckpointError(
        "ERR_CHECKPOINT_FORMAT",
        `${this.path}: ${name} needs ${end} bytes of its storage, which has ${Math.min(record.size, storageBytes)}: the file is damaged`,
      );
    }
    const offset = record.offset + tensor.offset * dtype.bytes;
    return { file: this.path, offset, dtype: dtype.name, elementBytes: dtype.bytes, shape, strides };
  }

  private async record(name: string, key: string): Promise<{ offset: number; size: number }> {
    const known = this.known.get(key);
    if (known) return known;
    const entry = this.archive.entries.get(`${this.root}data/${key}`);
    if (!entry) {
      throw new CheckpointError(
        "ERR_CHECKPOINT_FORMAT",
        `${this.path}: ${name}'s storage data/${key} is not in the archive`,
      );
    }
    if (entry.method !== 0) {
      throw new CheckpointError(
        "ERR_CHECKPOINT_FORMAT",
        `${this.path}: ${name}'s storage is compressed, so it cannot be mapped; write it with torch.save, which stores uncompressed`,
      );
    }
    const found = { offset: await this.archive.dataOffset(entry), size: entry.size };
    this.known.set(key, found);
    return found;
  }
}
