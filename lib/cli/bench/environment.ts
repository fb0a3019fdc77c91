/** Where a benchmark ran, as far as it decides what comes out. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Environment } from "../../bench/document.js";
import type { Context } from "../context.js";
import { diagnose } from "../diagnosis.js";

const firstLine = (path: string) =>
  readFile(path, "utf8").then(
    (text) => text.trim(),
    () => null,
  );

/** Of a clone, "+" if files differ from it; null elsewhere, and without git. */
async function commit(): Promise<string | null> {
  const root = fileURLToPath(new URL("../../..", import.meta.url));
  const git = async (...args: string[]) =>
    (await promisify(execFile)("git", ["-C", root, ...args])).stdout.trim();
  try {
    // A package installed somewhere inside a repository of its user's is no clone of ours.
    if ((await git("rev-parse", "--show-prefix")) !== "") return null;
    const changed = await git("status", "--porcelain", "--untracked-files=no");
    return `${await git("rev-parse", "HEAD")}${changed === "" ? "" : "+"}`;
  } catch {
    return null;
  }
}

/** The smallest step of the clock that times are read from, in nanoseconds. */
function clockStepNs(): number {
  let smallest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 1000; i++) {
    const before = performance.now();
    let after = before;
    while (after === before) after = performance.now();
    smallest = Math.min(smallest, after - before);
  }
  return Math.round(smallest * 1e6);
}

export async function benchEnvironment(context: Context): Promise<Environment> {
  const clockSource = await firstLine("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  return {
    ...(await diagnose(context.library)),
    commit: await commit(),
    clock: { name: "performance.now", source: clockSource, stepNs: clockStepNs() },
    frequencyGovernor: await firstLine("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    loadAverage: loadavg(),
  };
}
