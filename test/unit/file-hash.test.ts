import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { sha256OfFiles } from "../../lib/file-hash.js";

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), "kraken-hash-"));
});
after(() => rm(directory, { recursive: true }));

/** A file of so many bytes, and its hash. */
async function file(bytes: number): Promise<{ path: string; hash: string }> {
  const content = Buffer.alloc(bytes, `kraken ${bytes} `);
  const path = join(directory, `${bytes}`);
  await writeFile(path, content);
  return { path, hash: createHash("sha256").update(content).digest("hex") };
}

describe("SHA-256 of files", () => {
  test("of every size, on this thread and on others", async () => {
    const sizes = [0, 3, 1 << 20, 4 << 20, (4 << 20) + 1, 9_000_000, 12 << 20];
    const files = await Promise.all(sizes.map(file));
    let told = 0;
    const hashes = await sha256OfFiles(
      files.map(({ path }) => path),
      {
        onBytes: (bytes) => {
          told += bytes;
        },
      },
    );
    assert.deepEqual(
      hashes,
      files.map(({ hash }) => hash),
    );
    assert.equal(
      told,
      sizes.reduce((a, b) => a + b),
    );
    assert.deepEqual(await sha256OfFiles([]), []);
  });

  test("leaves the event loop free", async () => {
    const { path } = await file(64 << 20);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await sha256OfFiles([path]);
    clearInterval(timer);
    assert.ok(turns > 3, `${turns} timers fired meanwhile`);
  });

  test("names the file that cannot be read", async () => {
    const large = await file(6 << 20);
    await assert.rejects(sha256OfFiles([large.path, join(directory, "absent")]), {
      code: "ERR_IO",
      message: /cannot read .*absent: no such file/,
    });
    await assert.rejects(sha256OfFiles([directory]), { code: "ERR_IO", message: /EISDIR/ });
  });

  test("ends with its signal and with an error of its listener", async () => {
    for (const bytes of [2 << 20, 64 << 20]) {
      const { path } = await file(bytes);
      await assert.rejects(
        sha256OfFiles([path], { signal: AbortSignal.abort(new Error("too late")) }),
        /too late/,
      );
      const abort = new AbortController();
      const onBytes = () => abort.abort(new Error("stop it"));
      await assert.rejects(sha256OfFiles([path], { signal: abort.signal, onBytes }), /stop it/);
      const fails = () => {
        throw new Error("listener");
      };
      await assert.rejects(sha256OfFiles([path], { onBytes: fails }), /listener/);
    }
  });
});
