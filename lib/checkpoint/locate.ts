/** Which files a checkpoint path stands for. */
import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { CheckpointError } from "../errors.js";
import { withIoErrors } from "../io-error.js";
import { FileReader } from "./file-reader.js";
import { foreignFileError } from "./foreign-file.js";

export interface CheckpointFiles {
  format: "torch" | "safetensors";
  /** The file of weights, or the index of its shards. */
  weights: string;
  sharded: boolean;
  /** Files beside it, by name: absolute paths of those that exist. */
  config?: string;
  generationConfig?: string;
  tokenizer?: string;
  tokenizerConfig?: string;
}

/** In order of preference. */
const wellKnown = [
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
  "ckpt.pt",
];
const weightFile = /\.(safetensors|pt|pth|bin)$/;

/**
 * @param path a file of weights, an index of shards, or a directory that has one
 * @throws CheckpointError ERR_CHECKPOINT_FORMAT when there is none, or it is not clear which; RuntimeError ERR_IO
 */
export async function locateCheckpoint(path: string): Promise<CheckpointFiles> {
  const full = resolve(path);
  const isDirectory = (await withIoErrors(`open the checkpoint ${full}`, () => stat(full))).isDirectory();
  const directory = isDirectory ? full : dirname(full);
  const names = new Set(await withIoErrors(`list ${directory}`, () => readdir(directory)));
  const weights = isDirectory ? join(directory, weightsIn(directory, names)) : full;
  const beside = (name: string) => (names.has(name) ? join(directory, name) : undefined);
  const files = {
    config: beside("config.json"),
    generationConfig: beside("generation_config.json"),
    tokenizer: beside("tokenizer.json"),
    tokenizerConfig: beside("tokenizer_config.json"),
  };
  const present = Object.fromEntries(Object.entries(files).filter(([, file]) => file !== undefined));
  const sharded = weights.endsWith(".index.json");
  const format = sharded
    ? /\.bin\.index\.json$/.test(weights)
      ? "torch"
      : "safetensors"
    : await formatOf(weights);
  return { format, weights, sharded, ...present };
}

function weightsIn(directory: string, names: ReadonlySet<string>): string {
  const known = wellKnown.find((name) => names.has(name));
  if (known) return known;
  const fail = (what: string): never => {
    throw new CheckpointError("ERR_CHECKPOINT_FORMAT", `${directory}: ${what}`);
  };
  if (names.has("rank0.engine")) return fail("this is a built engine, not a checkpoint");
  const found = [...names].filter((name) => weightFile.test(name)).sort();
  if (found.length > 1)
    return fail(`several files of weights (${found.slice(0, 5).join(", ")}): name the one to use`);
  return (
    found[0] ?? fail(`no weights found: expected ${wellKnown.join(", ")} or another .safetensors or .pt file`)
  );
}

/** By content where it is clear, as files are renamed; safetensors have no magic number. */
async function formatOf(path: string): Promise<CheckpointFiles["format"]> {
  await using file = await FileReader.open(path);
  const head = await file.read(0, Math.min(512, file.size), "its beginning");
  if (head.subarray(0, 2).toString("latin1") === "PK") return "torch";
  if (head[8] === 0x7b /* { */ || path.endsWith(".safetensors")) return "safetensors";
  throw foreignFileError(path, head, "a PyTorch checkpoint (.pt) or a safetensors file");
}
