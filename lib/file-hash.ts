/** SHA-256 of files: read in pieces small enough that the event loop never waits long for one. */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";

const pieceBytes = 1 << 20;

/** Lower-case hex. `onBytes` is told how many bytes were just hashed. */
export async function sha256(
  file: string,
  options: { signal?: AbortSignal | undefined; onBytes?: (bytes: number) => void } = {},
): Promise<string> {
  const hash = createHash("sha256");
  const handle = await open(file, "r");
  try {
    const piece = Buffer.allocUnsafe(pieceBytes);
    for (;;) {
      options.signal?.throwIfAborted();
      const { bytesRead } = await handle.read(piece, 0, pieceBytes);
      if (bytesRead === 0) break;
      hash.update(bytesRead === pieceBytes ? piece : piece.subarray(0, bytesRead));
      options.onBytes?.(bytesRead);
    }
  } finally {
    await handle.close();
  }
  return hash.digest("hex");
}
