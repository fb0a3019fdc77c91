/** Positioned reads of a checkpoint file, so that only headers are ever read, with errors that name the file. */
import { type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import { CheckpointError } from "../errors.js";
import { ioError } from "../io-error.js";

/** A file of a known size, open for reading. */
export class FileReader implements AsyncDisposable {
  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  /** @throws RuntimeError ERR_IO */
  static async open(path: string): Promise<FileReader> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, "r");
      const { size } = await handle.stat();
      return new FileReader(resolve(path), size, handle);
    } catch (error) {
      await handle?.close();
      throw ioError(error, `read ${path}`);
    }
  }

  /**
   * `length` bytes from `position`.
   * @throws CheckpointError ERR_CHECKPOINT_FORMAT when the file ends before, RuntimeError ERR_IO
   */
  async read(position: number, length: number, what: string): Promise<Buffer> {
    if (position < 0 || position + length > this.size) {
      throw truncated(this, position, length, what);
    }
    const bytes = Buffer.alloc(length);
    try {
      for (let done = 0; done < length; ) {
        const { bytesRead } = await this.handle.read(bytes, done, length - done, position + done);
        if (bytesRead === 0) throw truncated(this, position, length, what);
        done += bytesRead;
      }
    } catch (error) {
      throw ioError(error, `read ${this.path}`);
    }
    return bytes;
  }

  /** Closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close();
  }
}

function truncated(file: FileReader, position: number, length: number, what: string): CheckpointError {
  return new CheckpointError(
    "ERR_CHECKPOINT_FORMAT",
    `${file.path}: ${what} (${length} bytes at ${position}) lies beyond the end of the file (${file.size} bytes): ` +
      "the file is truncated or damaged",
  );
}

/** Largest JSON document we read beside weights (tokenizers of large vocabularies reach 30 MB). */
const jsonLimit = 256 * 1024 * 1024;

/**
 * A JSON object from a file.
 * @throws CheckpointError ERR_CONFIG when it is no JSON object, RuntimeError ERR_IO
 */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  await using file = await FileReader.open(path);
  if (file.size > jsonLimit)
    throw new CheckpointError("ERR_CONFIG", `${path}: too large for a JSON document`);
  return parseJsonObject((await file.read(0, file.size, "it")).toString("utf8"), path);
}

/** @throws CheckpointError with `code` when `text` is no JSON object */
export function parseJsonObject(
  text: string,
  where: string,
  code: "ERR_CONFIG" | "ERR_CHECKPOINT_FORMAT" = "ERR_CONFIG",
): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CheckpointError(code, `${where}: not valid JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CheckpointError(
      code,
      `${where}: expected a JSON object, got ${Array.isArray(value) ? "an array" : value}`,
    );
  }
  return value as Record<string, unknown>;
}
