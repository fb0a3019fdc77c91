/**
 * The closed set of names a torch checkpoint may refer to, and what they stand for here. None of them runs anything:
 * tensors and storages become descriptions, NumPy scalars (the authors' multi-GPU runs store their loss as one) and
 * devices become opaque values.
 */
import { CheckpointError } from "../errors.js";
import type { PickleHost } from "./pickle.js";

/** One record of the archive, as a typed array of elements. */
export interface StorageReference {
  kind: "storage";
  /** The record is `data/<key>`. */
  key: string;
  /** Undefined: untyped bytes, whose tensors carry their own dtype. */
  dtype: TorchDType | undefined;
  /** Elements (bytes when untyped). */
  length: number;
}

export interface TensorReference {
  kind: "tensor";
  storage: StorageReference;
  dtype: TorchDType;
  /** In elements. */
  offset: number;
  shape: number[];
  strides: number[];
}

export interface TorchDType {
  kind: "dtype";
  name: string;
  bytes: number;
}

export function isTensorReference(value: unknown): value is TensorReference {
  return (value as TensorReference | null)?.kind === "tensor";
}

const dtypes: Record<string, TorchDType> = Object.fromEntries(
  (
    [
      ["float32", 4],
      ["float16", 2],
      ["bfloat16", 2],
      ["float64", 8],
      ["int64", 8],
      ["int32", 4],
      ["int16", 2],
      ["int8", 1],
      ["uint8", 1],
      ["uint16", 2],
      ["uint32", 4],
      ["uint64", 8],
      ["bool", 1],
      ["complex64", 8],
      ["complex128", 16],
      ["float8_e4m3fn", 1],
      ["float8_e5m2", 1],
      ["float8_e4m3fnuz", 1],
      ["float8_e5m2fnuz", 1],
    ] as const
  ).map(([name, bytes]) => [name, { kind: "dtype" as const, name, bytes }]),
);

const storageDTypes: Record<string, string> = {
  FloatStorage: "float32",
  HalfStorage: "float16",
  BFloat16Storage: "bfloat16",
  DoubleStorage: "float64",
  LongStorage: "int64",
  IntStorage: "int32",
  ShortStorage: "int16",
  CharStorage: "int8",
  ByteStorage: "uint8",
  BoolStorage: "bool",
  ComplexFloatStorage: "complex64",
  ComplexDoubleStorage: "complex128",
};

interface StorageClass {
  kind: "storage class";
  dtype: TorchDType | undefined;
}

interface Callable {
  kind: "callable";
  name: string;
  call(args: readonly unknown[]): unknown;
}

const opaque = { kind: "opaque" } as const;

/** @param where names the checkpoint in messages */
export function torchHost(where: string): PickleHost {
  const fail = (what: string): never => {
    throw new CheckpointError("ERR_CHECKPOINT_FORMAT", `${where}: damaged pickle: ${what}`);
  };
  const globals = torchGlobals(fail);
  return {
    global(name) {
      const found = globals.get(name);
      if (found) return found;
      const torchScript = name.startsWith("__torch__.")
        ? " (a TorchScript archive: save the state dict instead)"
        : "";
      throw new CheckpointError(
        "ERR_CHECKPOINT_UNSAFE",
        `${where} asks for \`${name}\`${torchScript}, which is not among the names a checkpoint of tensors needs. ` +
          "Nothing was executed. Save only tensors and plain values: torch.save(model.state_dict(), path)",
      );
    },
    call(callable, args) {
      const target = callable as Partial<Callable> | null;
      if (target?.kind !== "callable") return fail("it calls something that is no function");
      return target.call!(args);
    },
    persistent(id) {
      const [tag, type, key, , length] = Array.isArray(id) ? (id as unknown[]) : [];
      const storage = type as StorageClass | null | undefined;
      if (tag !== "storage" || storage?.kind !== "storage class" || typeof key !== "string") {
        return fail("a storage reference of an unknown form");
      }
      return {
        kind: "storage",
        key,
        dtype: storage.dtype,
        length: size(length, fail),
      } satisfies StorageReference;
    },
  };
}

type Fail = (what: string) => never;

function size(value: unknown, fail: Fail): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    return fail(`a tensor's sizes must be whole numbers that are not negative, got ${String(value)}`);
  }
  return value;
}

function sizes(value: unknown, fail: Fail): number[] {
  if (!Array.isArray(value) || value.length > 64) return fail("a tensor without a shape");
  return value.map((entry) => size(entry, fail));
}

function tensor(args: readonly unknown[], dtype: unknown, fail: Fail): TensorReference {
  const storage = args[0] as StorageReference | null | undefined;
  if (storage?.kind !== "storage") return fail("a tensor without a storage");
  const own = storage.dtype ?? (dtype as TorchDType | null | undefined);
  if (own?.kind !== "dtype") return fail("a tensor without a dtype");
  const [shape, strides] = [sizes(args[2], fail), sizes(args[3], fail)];
  if (shape.length !== strides.length) return fail("a tensor whose strides do not match its shape");
  return { kind: "tensor", storage, dtype: own, offset: size(args[1], fail), shape, strides };
}

/** An OrderedDict's argument: none, or its [key, value] pairs. */
function orderedDict(args: readonly unknown[], fail: Fail): Map<unknown, unknown> {
  const pairs = args[0] ?? [];
  if (pairs instanceof Map) return new Map(pairs);
  if (!Array.isArray(pairs) || !pairs.every((pair) => Array.isArray(pair)))
    return fail("an OrderedDict of no pairs");
  return new Map(pairs as [unknown, unknown][]);
}

function torchGlobals(fail: Fail): Map<string, StorageClass | Callable | TorchDType> {
  const globals = new Map<string, StorageClass | Callable | TorchDType>();
  const define = (names: readonly string[], call: Callable["call"]) => {
    for (const name of names) globals.set(name, { kind: "callable", name, call });
  };
  for (const [name, dtype] of Object.entries(storageDTypes)) {
    globals.set(`torch.${name}`, { kind: "storage class", dtype: dtypes[dtype] });
  }
  globals.set("torch.storage.UntypedStorage", { kind: "storage class", dtype: undefined });
  for (const [name, dtype] of Object.entries(dtypes)) globals.set(`torch.${name}`, dtype);

  define(["torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"], (args) =>
    tensor(args, undefined, fail));
  define(["torch._utils._rebuild_tensor_v3"], (args) => tensor(args, args[6], fail));
  define(["torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"], (args) =>
    args[0]);
  define(["collections.OrderedDict"], (args) => orderedDict(args, fail));
  define(["torch.Size"], (args) => (Array.isArray(args[0]) ? args[0] : fail("a torch.Size of no tuple")));
  define(["builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset"], (args) =>
    Array.isArray(args[0]) ? args[0] : []);
  define([
    "torch.device",
    "torch.serialization._get_layout",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
  ], () => opaque);
  return globals;
}
