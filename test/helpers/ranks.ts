/** Ranks that run as processes of their own: how they are started, and what is left of them, looked up in /proc. */
import assert from "node:assert/strict";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { KrakenError } from "../../lib/index.js";

/** A clone beside this one has workers of its own. */
const repository = fileURLToPath(new URL("../..", import.meta.url));

/** This repository's kraken-workers that are a rank on another host, whoever started them. */
export function remoteRanks(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return command.startsWith(repository) && /kraken-worker\0--rank/.test(command);
      } catch {
        return false;
      }
    });
}

export async function noRemoteRanks(withinMs = 2000): Promise<void> {
  for (const until = performance.now() + withinMs; performance.now() < until; await sleep(10)) {
    if (remoteRanks().length === 0) return;
  }
  assert.fail(`still there: ${remoteRanks()}`);
}

/** A launch agent in a folder: a shell script that gets HOST COMMAND…, of which `"$@"` is the command. */
export function writeAgent(folder: string, name: string, body: string): string {
  const file = join(folder, name);
  writeFileSync(file, `#!/bin/sh\nshift\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}

export async function failure(work: PromiseLike<unknown>): Promise<KrakenError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof KrakenError, String(error));
    return error;
  }
  assert.fail("it did not fail");
}
