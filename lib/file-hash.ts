/** SHA-256 of files. Large ones are hashed on threads of their own, so that the event loop goes on and cores share. */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { withIoErrors } from "./io-error.js";

const pieceBytes = 1 << 20;
/** Up to here a thread would cost more than it saves. */
const smallBytes = 4 << 20;

export interface HashOptions {
  /** Aborting rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Told how many bytes were just hashed. */
  onBytes?: ((bytes: number) => void) | undefined;
}

/** Of an open file, given by its descriptor. As text, because then it needs no file that a bundler must know of. */
const worker = `
const { createHash } = require("node:crypto");
const { readSync } = require("node:fs");
const { parentPort, workerData } = require("node:worker_threads");
const hash = createHash("sha256");
const piece = Buffer.allocUnsafe(workerData.pieceBytes);
for (;;) {
  const bytes = readSync(workerData.fd, piece, 0, piece.length, null);
  if (bytes === 0) break;
  hash.update(piece.subarray(0, bytes));
  parentPort.postMessage(bytes);
}
parentPort.postMessage(hash.digest("hex"));
`;

async function hashOnThread({ fd }: FileHandle, { signal, onBytes }: HashOptions): Promise<string> {
  signal?.throwIfAborted();
  // Without the parent's loaders, which would take longer to start than most files take to hash.
  const thread = new Worker(worker, { eval: true, execArgv: [], workerData: { fd, pieceBytes } });
  let abort = () => {};
  try {
    return await new Promise<string>((resolve, reject) => {
      abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort);
      thread.on("error", reject);
      thread.on("message", (message: number | string) => {
        if (typeof message === "string") return resolve(message);
        try {
          onBytes?.(message);
        } catch (error) {
          reject(error);
        }
      });
    });
  } finally {
    signal?.removeEventListener("abort", abort);
    await thread.terminate(); // nobody reads the file from here on
  }
}

async function hashHere(handle: FileHandle, { signal, onBytes }: HashOptions): Promise<string> {
  const hash = createHash("sha256");
  const piece = Buffer.allocUnsafe(pieceBytes);
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(piece, 0, pieceBytes);
    if (bytesRead === 0) return hash.digest("hex");
    hash.update(piece.subarray(0, bytesRead));
    onBytes?.(bytesRead);
  }
}

async function sha256(file: string, options: HashOptions): Promise<string> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    return await (size > smallBytes ? hashOnThread(handle, options) : hashHere(handle, options));
  } finally {
    await handle.close();
  }
}

/**
 * Lower-case hex of each file, as many at a time as there are cores.
 * @throws RuntimeError ERR_IO naming the file; the signal's reason when aborted
 */
export async function sha256OfFiles(files: readonly string[], options: HashOptions = {}): Promise<string[]> {
  const failed = new AbortController(); // the first failure ends the others
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const hashes = new Array<string>(files.length);
  const left = files.entries(); // shared: each lane takes the next
  const lane = async () => {
    try {
      for (const [i, file] of left) {
        hashes[i] = await withIoErrors(`read ${file}`, () => sha256(file, { ...options, signal }));
      }
    } catch (error) {
      failed.abort(error);
    }
  };
  await Promise.all(Array.from({ length: Math.min(files.length, availableParallelism()) }, lane));
  failed.signal.throwIfAborted();
  return hashes;
}
