/** Commands under mpirun. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { native } from "../../lib/native.js";
import { processes } from "./marked-processes.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Why nothing can be tested here, or false. */
export function withoutMpi(): string | false {
  const worker = join(dirname(native().worker().path), "kraken-worker-mpi");
  if (process.platform !== "linux") return "processes are looked up in /proc";
  if (!existsSync(worker)) {
    return "kraken-worker-mpi is not built: it needs MPI (Debian: openmpi-bin and libopenmpi-dev)";
  }
  return spawnSync("mpirun", ["--version"]).status !== 0 && "mpirun is not installed (Debian: openmpi-bin)";
}

/** The words of `kraken …`. */
export const kraken = (...args: string[]) => [
  process.execPath,
  "--import",
  "tsx",
  join("lib", "cli", "main.ts"),
  ...args,
];

/** That many of them here. */
export const mpirun = (ranks: number, ...args: string[]) => [
  ...["mpirun", "--oversubscribe", "--bind-to", "none", "-np", String(ranks)],
  ...kraken(...args),
];

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A command that runs, all of whose processes are known by a mark of its own. */
export function start(command: string[], env: Record<string, string> = {}) {
  const mark = `mpi-${process.pid}-${Math.random()}`;
  const child = spawn(command[0]!, command.slice(1), {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      OMPI_ALLOW_RUN_AS_ROOT: "1",
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
      KRAKEN_TEST_MARK: mark,
      ...env,
    },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => {
    stdout += data;
  });
  const printed = once(child.stdout, "data");
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  const ended = once(child, "close").then(([code]): Ended => {
    clearTimeout(timer);
    return { code: code as number | null, stdout, stderr };
  });
  const pidOf = (rank: number, name: string) =>
    processes(mark).find((found) => found.rank === rank && found.command.includes(name))?.pid;
  return {
    child,
    ended,
    mark,
    pidOf,
    /** Until it prints something on stdout. */
    printed,
    /** Until the command has loaded its engine: rank 0's relay to it is there. */
    async loaded(): Promise<void> {
      const over = ended.then(() => true);
      while (pidOf(0, "--attach") === undefined) {
        const ended = await Promise.race([over, new Promise((resolve) => setTimeout(resolve, 20, false))]);
        if (ended) throw new Error(`it has ended: ${stderr}`);
      }
    },
  };
}

/** The error that it printed. Under mpirun stdout is a terminal, and documents are laid out for people. */
export function refusalOf({ stdout, stderr }: Ended): { code: string; message: string } {
  const text = /^\{.*?^\}/ms.exec(stdout.replaceAll("\r", ""))?.[0] ?? stdout;
  if (!text.includes('"error"')) throw new Error(`it did not fail: ${stdout}${stderr}`);
  return (JSON.parse(text) as { error: { code: string; message: string } }).error;
}
