/** Names an engine's numbers: two engines with the same name compute the same. */
import { createHash } from "node:crypto";
import type { EngineManifest } from "../engine-directory.js";

/** Short hash over model, dtype, backend and the checksums of all files, the tokenizer's among them. */
export function engineIdentity({ config, dtype, backend, tokenizer, files }: EngineManifest): string {
  const checksums = Object.entries(files)
    .map(([name, { sha256 }]) => [name, sha256])
    .sort(([a], [b]) => (a! < b! ? -1 : 1));
  return fingerprint(JSON.stringify([config, dtype, backend, tokenizer, checksums]));
}

/** The first 16 hex digits of the SHA-256. */
export function fingerprint(data: string | NodeJS.ArrayBufferView): string {
  return createHash("sha256").update(data).digest("hex").slice(0, 16);
}
