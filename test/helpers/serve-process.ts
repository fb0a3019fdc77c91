/** `kraken serve` as a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface ServeProcess extends AsyncDisposable {
  child: ChildProcess;
  url: string;
  /** Its exit code. */
  code: Promise<number | null>;
  stderr: () => string;
  /** The process in which its ranks live, with --isolation process. */
  workerPid(): number;
}

export async function startServe(args: string[], env: Record<string, string> = {}): Promise<ServeProcess> {
  const child = spawn(
    process.execPath,
    ["--import", "tsx", "lib/cli/main.ts", "serve", ...args, "--port", "0", "--json"],
    { cwd: root, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } },
  );
  let stderr = "";
  child.stderr!.on("data", (data) => {
    stderr += data;
  });
  const code = once(child, "exit").then(([exit]) => exit as number | null);
  const lines = createInterface({ input: child.stdout! });
  const line = await Promise.race([
    once(lines, "line").then(([text]) => text as string),
    code.then((exit) => {
      throw new Error(`kraken serve ended with ${exit}: ${stderr}`);
    }),
  ]);
  return {
    child,
    url: (JSON.parse(line) as { url: string }).url,
    code,
    stderr: () => stderr,
    workerPid: () => childrenOf(child.pid!).find(isWorker)!,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await code;
    },
  };
}

function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => {
      try {
        const stat = readFileSync(`/proc/${candidate}/stat`, "utf8");
        return Number(/^.*\) \S (\d+)/s.exec(stat)?.[1]) === pid;
      } catch {
        return false; // it ended meanwhile
      }
    });
}

function isWorker(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("kraken-worker");
  } catch {
    return false;
  }
}
