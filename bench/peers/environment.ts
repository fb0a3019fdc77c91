/** What a figure is worth without: the machine, the moment and the commit. */
import { execFileSync } from "node:child_process";
import { cpus, release, totalmem, type } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Environment } from "./results.js";

function git(...args: string[]): string {
  const cwd = dirname(fileURLToPath(import.meta.url));
  return execFileSync("git", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
}

/** Abbreviated, with a mark when files differ from it. */
function commit(): string {
  try {
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain") === "" ? "" : " with changes");
  } catch {
    return "unknown";
  }
}

export function environment(): Environment {
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    commit: commit(),
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    clockMHz: processors[0]?.speed ?? 0,
    memoryBytes: totalmem(),
    system: `${type()} ${release()}`,
    node: process.version,
  };
}
