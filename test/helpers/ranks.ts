/** Ranks that run as processes of their own, looked up in /proc. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

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
