/**
 * An engine directory: the rank files and config.json, the manifest that says what they are.
 * It is checked before anything is deserialised, and records its own checksum: no byte changes unnoticed.
 */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { EngineDirectoryError } from "./errors.js";
import { sha256OfFiles } from "./file-hash.js";
import { hasCode, withIoErrors } from "./io-error.js";
import type { Architecture, DType, ModelConfig } from "./model-config.js";
import type { TensorRtFacts } from "./tensorrt.js";
import type { TrtLlmConfig } from "./trtllm/config.js";

/** Raised when an older engine could misread what is written, or this version what older ones wrote. */
export const formatVersion = 1;
export const manifestName = "config.json";
const formatName = "kraken-engine";

/** What turns text into ids; absent in an engine that takes ids only. */
export type EngineTokenizer =
  /** tokenizer.json lies in the directory, and tokenizer_config.json where the checkpoint had one. */
  | { kind: "file"; file: string; configFile?: string }
  /** GPT-2's byte-pair encoding. */
  | { kind: "gpt2" }
  /** One token per byte. */
  | { kind: "bytes" };

/** A file of an engine directory, as its manifest records it. */
export interface EngineFile {
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

/**
 * An engine directory's config.json: what was built, from what, and by which versions. Engines that TensorRT-LLM runs have
 * its own keys in the same file.
 */
export interface EngineManifest extends Partial<TrtLlmConfig> {
  format: typeof formatName;
  formatVersion: number;
  /** What wrote it, e.g. "kraken-engine 0.1.0". */
  createdBy: string;
  /** What it was built from, in words. */
  source: string;
  architecture: Architecture;
  config: ModelConfig;
  ranks: number;
  dtype: DType;
  backend: string;
  /** "none": collectives left out, wrong numbers, right timing; only benchmarks want that. */
  communication: "overlapped" | "none";
  /** Sizes the backend padded at build time; empty where it needs none. */
  padding: Record<string, number>;
  /** Libraries that built it. */
  versions: Record<string, string>;
  tokenizer: EngineTokenizer | null;
  eosTokenIds: number[];
  bosTokenId?: number;
  /** Of backend "tensorrt" alone. */
  tensorrt?: TensorRtFacts;
  /** By name: every file of the directory but the manifest. */
  files: Record<string, EngineFile>;
}

/** The command that builds such an engine again. */
function rebuild(manifest: Pick<EngineManifest, "ranks" | "dtype" | "backend">, directory: string): string {
  const { ranks, dtype, backend } = manifest;
  return (
    "rebuild it: kraken build <checkpoint> " +
    `--ranks ${ranks} --dtype ${dtype} --backend ${backend} --output ${directory} --overwrite`
  );
}

/** Over everything but `checksum` itself; JSON.parse keeps the order of keys, so reading gives the same text. */
function checksum(manifest: object): string {
  const { checksum: _, ...rest } = manifest as Record<string, unknown>;
  return createHash("sha256").update(JSON.stringify(rest)).digest("hex");
}

/** The text of config.json. */
export function serializeManifest(manifest: EngineManifest): string {
  return `${JSON.stringify({ ...manifest, checksum: checksum(manifest) }, null, 2)}\n`;
}

async function readManifestText(directory: string): Promise<string> {
  const file = join(directory, manifestName);
  try {
    return await withIoErrors(`read ${file}`, () => readFile(file, "utf8"));
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    if (!hasCode(cause, "ENOENT", "ENOTDIR", "EISDIR")) throw error;
    const exists = await stat(directory).then(
      (s) => (s.isDirectory() ? "directory" : "file"),
      () => undefined,
    );
    const why =
      exists === undefined
        ? "does not exist"
        : exists === "file"
          ? "is a file: if it is a checkpoint, build an engine from it first (kraken build)"
          : `has no ${manifestName}: it is not an engine directory`;
    throw new EngineDirectoryError("ERR_ENGINE_PATH", `${directory} ${why}`, { cause });
  }
}

/**
 * Reads and checks the manifest; the files it names are not looked at (see verifySizes and verifyHashes).
 * @throws EngineDirectoryError ERR_ENGINE_PATH, ERR_ENGINE_CORRUPT, ERR_ENGINE_VERSION; RuntimeError ERR_IO
 */
export async function readManifest(directory: string): Promise<EngineManifest> {
  const file = join(directory, manifestName);
  const text = await readManifestText(directory);
  let manifest: EngineManifest & { checksum?: unknown };
  try {
    manifest = JSON.parse(text);
  } catch (cause) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_CORRUPT",
      `${file} is not valid JSON: the engine is damaged, build it again`,
      { cause },
    );
  }
  if (typeof manifest !== "object" || manifest === null || manifest.format !== formatName) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_PATH",
      `${file} is not the manifest of an engine; if ${directory} is a checkpoint, build an engine from it first (kraken build)`,
    );
  }
  if (manifest.formatVersion !== formatVersion) {
    const newer = manifest.formatVersion > formatVersion;
    throw new EngineDirectoryError(
      "ERR_ENGINE_VERSION",
      `${directory} has engine format ${manifest.formatVersion} (written by ${manifest.createdBy}), this version of ` +
        `kraken-engine reads ${formatVersion}: ${newer ? "update kraken-engine, or " : ""}${rebuild(manifest, directory)}`,
    );
  }
  if (manifest.checksum !== checksum(manifest)) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_CORRUPT",
      `${file} was changed after it was written: its checksum does not match; ${rebuild(manifest, directory)}`,
    );
  }
  const { checksum: _, ...checked } = manifest;
  return checked;
}

function corrupt(
  directory: string,
  manifest: EngineManifest,
  file: string,
  what: string,
): EngineDirectoryError {
  return new EngineDirectoryError(
    "ERR_ENGINE_CORRUPT",
    `${join(directory, file)} ${what}: the engine is damaged; ${rebuild(manifest, directory)}`,
  );
}

/**
 * Checks that every file is there and of its size.
 * @throws EngineDirectoryError ERR_ENGINE_CORRUPT naming the file
 */
export async function verifySizes(directory: string, manifest: EngineManifest): Promise<void> {
  for (const [file, { bytes }] of Object.entries(manifest.files)) {
    const found = await stat(join(directory, file)).catch(() => undefined);
    if (!found?.isFile()) throw corrupt(directory, manifest, file, "is missing");
    if (found.size !== bytes) {
      throw corrupt(directory, manifest, file, `has ${found.size} bytes, its manifest records ${bytes}`);
    }
  }
}

/**
 * Checks that no byte of any file has changed.
 * @throws EngineDirectoryError ERR_ENGINE_CORRUPT naming the file; RuntimeError ERR_IO; the signal's reason when aborted
 */
export async function verifyHashes(
  directory: string,
  manifest: EngineManifest,
  signal?: AbortSignal | undefined,
): Promise<void> {
  const entries = Object.entries(manifest.files);
  const hashes = await sha256OfFiles(
    entries.map(([file]) => join(directory, file)),
    { signal },
  );
  for (const [i, [file, { sha256 }]] of entries.entries()) {
    if (hashes[i] !== sha256) {
      throw corrupt(directory, manifest, file, "has changed since it was built (SHA-256 differs)");
    }
  }
}

/**
 * @throws EngineDirectoryError ERR_ENGINE_BACKEND when the engine was built for another backend than wanted, or for
 *   one this version does not know
 */
export function checkBackend(
  directory: string,
  manifest: EngineManifest,
  wanted: string | undefined,
  known: readonly string[],
): void {
  if (wanted !== undefined && wanted !== manifest.backend) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_BACKEND",
      `${directory} was built for backend "${manifest.backend}", not "${wanted}"; ${rebuild({ ...manifest, backend: wanted }, directory)}`,
    );
  }
  if (!known.includes(manifest.backend)) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_BACKEND",
      `${directory} was built for backend "${manifest.backend}", which this version of kraken-engine does not know ` +
        `(it knows ${known.join(", ")}); ${rebuild({ ...manifest, backend: "cpu" }, directory)}`,
    );
  }
}
