/** Runs scripts in child processes of their own, the way a user's program runs. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { buildEngine } from "../../lib/index.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Where child scripts import the package from. */
export const library = new URL("../../lib/index.js", import.meta.url).href;

/** Begins an ES module given to a worker thread as text: without it, its imports would not find TypeScript files. */
export const workerPrelude = 'const { register } = await import("tsx/esm/api"); register();\n';

export interface ChildResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  seconds: number;
}

/** Builds the tiny preset with random weights at `output`. */
export function buildTiny(output: string, ranks = 2) {
  return buildEngine({ random: "kraken-tiny-2way", output, ranks, dtype: "float32" });
}

/**
 * Runs an ES module given as text. `library` and `engine` are constants in it: what to import, and the directory.
 * A child that does not end is killed after `limitSeconds`, and shows as signal SIGKILL.
 */
export function runScript(
  script: string,
  {
    engine,
    nodeOptions = [],
    limitSeconds = 60,
    limitFileKiB,
  }: {
    engine: string;
    nodeOptions?: string[];
    limitSeconds?: number;
    /** No file can grow beyond: what a full disk looks like, without one. */
    limitFileKiB?: number;
  },
): Promise<ChildResult> {
  const source = `const library = ${JSON.stringify(library)}, engine = ${JSON.stringify(engine)};\n${script}`;
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const args = [...nodeOptions, "--import", "tsx", "--input-type=module", "--eval", source];
    const [command, ...rest] =
      limitFileKiB === undefined
        ? [process.execPath, ...args]
        : ["sh", "-c", `ulimit -f ${limitFileKiB * 2} && exec "$0" "$@"`, process.execPath, ...args];
    const child = spawn(command!, rest, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (data) => {
      stdout += data;
    });
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), limitSeconds * 1000);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr, seconds: (performance.now() - started) / 1000 });
    });
  });
}
