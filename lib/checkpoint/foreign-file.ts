/** Names what a file is that turned out not to be the format expected: the likely mistakes, by their first bytes. */
import { CheckpointError } from "../errors.js";

const legacyTorchMagic = Buffer.from("80028a0a6cfc9c46f9206aa850192e", "hex");

/** What the first bytes (512 suffice) of a file that we cannot read look like, with the way out; undefined if unknown. */
export function describeForeignFile(head: Buffer): string | undefined {
  const text = head.toString("latin1");
  if (head.length === 0) return "the file is empty";
  if (head.subarray(0, 15).equals(legacyTorchMagic) || text.slice(257, 262) === "ustar") {
    return "PyTorch's legacy format (before 1.6): load it in Python and torch.save it again with the default zip format";
  }
  if (text.startsWith("version https://git-lfs")) {
    return "a Git LFS pointer, not the weights: run `git lfs pull` where it was cloned";
  }
  if (/^\s*<(!doctype|html)/i.test(text)) return "an HTML page: the download went wrong";
  if (text.startsWith("GGUF"))
    return "a GGUF file, which is not supported: use the safetensors or PyTorch weights";
  if (text.startsWith("PK")) return "a zip archive that is cut off: its directory, at the end, is missing";
  if (head[0] === 0x80 && head[1]! <= 5) return "a plain Python pickle: save the weights with torch.save";
  if (text.slice(1, 4) === "HDF") return "an HDF5 file, which is not supported";
  return undefined;
}

/** The error for a file that is not `expected`. */
export function foreignFileError(path: string, head: Buffer, expected: string): CheckpointError {
  const found = describeForeignFile(head) ?? "not a format this reads, or damaged";
  return new CheckpointError("ERR_CHECKPOINT_FORMAT", `${path}: expected ${expected}, but this is ${found}`);
}
