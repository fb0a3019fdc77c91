/** Processes that MPI's launcher started for a test, looked up in /proc. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export interface RankProcess {
  pid: number;
  /** −1: not a rank, as mpirun. */
  rank: number;
  command: string;
}

/** Every process that a test can have started, by what only those have in their environment: KRAKEN_TEST_MARK. */
export function processes(mark: string): RankProcess[] {
  const found: RankProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      if (/^\S+ \(.*\) [ZX] /s.test(readFileSync(`/proc/${name}/stat`, "utf8"))) continue;
      const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      if (!environment.includes(`KRAKEN_TEST_MARK=${mark}`)) continue;
      const rank = environment.find((line) => line.startsWith("OMPI_COMM_WORLD_RANK="))?.split("=")[1];
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      found.push({ pid: Number(name), rank: rank === undefined ? -1 : Number(rank), command });
    } catch {
      // it ended meanwhile
    }
  }
  return found;
}

/** Fails unless all of them end within the time. */
export async function allGone(mark: string, ms = 5000): Promise<void> {
  let left: RankProcess[] = [];
  for (const until = performance.now() + ms; performance.now() < until; await sleep(20)) {
    left = processes(mark);
    if (left.length === 0) return;
  }
  throw new Error(`still there: ${left.map(({ pid, rank, command }) => `${pid} (${rank}) ${command}`)}`);
}
