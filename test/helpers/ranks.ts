/** Ranks that run as processes of their own, looked up in /proc. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** kraken-workers that are a rank on another host, whoever started them. */
export function remoteRanks(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return /kraken-worker\0--rank/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
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
