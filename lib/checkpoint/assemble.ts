/** From a file's names to canonical ones: each format is a list of rules, and one function applies and checks them. */
import { CheckpointError } from "../errors.js";
import type { FileTensor, StoredDType } from "./checkpoint-index.js";
import { elementCount, type StoredTensor, type StoredTensors } from "./stored-tensor.js";

/** One canonical tensor. */
export interface TensorRule {
  /** Canonical name. */
  to: string;
  /** Name in the file. */
  from: string;
  /** Shape in the file. */
  shape: number[];
  /** From the stored tensor to the canonical one; absent: as it is. */
  view?: (t: StoredTensor) => StoredTensor;
}

const readable: ReadonlySet<string> = new Set<StoredDType>(["float32", "float16", "bfloat16"]);

/**
 * Applies the rules.
 * @param ignored names in the file that are known and not weights (attention masks, rotary tables)
 * @throws CheckpointError ERR_CHECKPOINT_TENSORS naming what is missing, misshapen or unknown; ERR_CHECKPOINT_DTYPE
 */
export function assemble(
  where: string,
  stored: StoredTensors,
  rules: readonly TensorRule[],
  ignored: readonly RegExp[],
): Record<string, FileTensor> {
  const [missing, misshapen, unreadable]: string[][] = [[], [], []];
  const wanted = new Set<string>();
  const tensors: Record<string, FileTensor> = {};
  for (const { to, from, shape, view } of rules) {
    const first = !wanted.has(from);
    wanted.add(from);
    const found = stored.get(from);
    if (!found) {
      if (first) missing!.push(`${from} is missing (expected [${shape}])`);
    } else if (found.shape.join() !== shape.join()) {
      if (first) misshapen!.push(`${from} has shape [${found.shape}], expected [${shape}]`);
    } else if (!readable.has(found.dtype)) {
      if (first) unreadable!.push(`${from} is ${found.dtype}`);
    } else {
      tensors[to] = fileTensor(view ? view(found) : found);
    }
  }
  const extra = [...stored.keys()]
    .filter((name) => !wanted.has(name) && !ignored.some((pattern) => pattern.test(name)))
    .map((name) => `${name} is not known`);
  const problems = [...missing!, ...misshapen!, ...extra];
  if (problems.length > 0) {
    throw new CheckpointError(
      "ERR_CHECKPOINT_TENSORS",
      `${where}: the tensors do not fit the configuration: ${listed(problems)}`,
    );
  }
  if (unreadable!.length > 0) {
    throw new CheckpointError(
      "ERR_CHECKPOINT_DTYPE",
      `${where}: ${listed(unreadable!)}: expected float32, float16 or bfloat16; convert the weights before`,
    );
  }
  return tensors;
}

function listed(problems: readonly string[]): string {
  const more = problems.length > 5 ? `; and ${problems.length - 5} more` : "";
  return problems.slice(0, 5).join("; ") + more;
}

function fileTensor(t: StoredTensor): FileTensor {
  const { file, offset, dtype, shape, strides } = t;
  return { source: "file", file, offset, dtype: dtype as StoredDType, shape, strides };
}

/** The dtype most elements are stored in. */
export function commonDType(tensors: Record<string, FileTensor>): StoredDType {
  const elements = new Map<StoredDType, number>();
  for (const { dtype, shape } of Object.values(tensors)) {
    elements.set(dtype, (elements.get(dtype) ?? 0) + elementCount(shape));
  }
  return [...elements].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "float32";
}
