/**
 * Installs the peers into a cache outside the source tree: a Python environment and a node_modules. What is there
 * already, from the same lists, stays.
 */
import { spawn } from "node:child_process";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { sha256OfFiles } from "../../lib/file-hash.js";

const here = dirname(fileURLToPath(import.meta.url));

export const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "kraken-engine", "peers");
const venv = join(cache, "venv");
export const python = join(venv, "bin", "python");

/** The module of a peer that is installed in the cache. */
export async function importPeer<Module>(name: string): Promise<Module> {
  const path = createRequire(join(cache, "package.json")).resolve(name);
  return (await import(pathToFileURL(path).href)) as Module;
}

const note = (text: string) => process.stderr.write(`peers: ${text}\n`);

/** Runs a program to its end. @throws Error with the end of what it printed */
export async function execute(program: string, args: readonly string[], cwd = cache): Promise<void> {
  const child = spawn(program, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      printed = (printed + text).slice(-4000);
    });
  }
  const status = await new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code === 0 ? "" : `ended with ${signal ?? code}`));
  });
  if (status === "") return;
  const last = printed.trim().split("\n").slice(-3).join(" ");
  throw new Error(`${program} ${args[0]}: ${status}${last ? `: ${last}` : ""}`);
}

/** Installs unless the stamp says that the very same list was installed. */
async function once(
  stamp: string,
  list: string,
  what: string,
  size: string,
  install: () => Promise<void>,
): Promise<void> {
  const wanted = (await sha256OfFiles([list])).join();
  if ((await readFile(stamp, "utf8").catch(() => "")) === wanted) return;
  note(`installing ${what} into ${cache}: ${size}`);
  await mkdir(cache, { recursive: true });
  await install();
  await writeFile(stamp, wanted);
}

/** PyTorch, ONNX Runtime and what exports models for them and for llama.cpp. */
export function installPython(): Promise<void> {
  const list = join(here, "requirements.txt");
  const size = "about 2.9 GB to download and 5.5 GB on disk, most of it CUDA libraries that torch links";
  return once(join(venv, "installed"), list, "PyTorch and ONNX Runtime", size, async () => {
    await rm(venv, { recursive: true, force: true });
    await execute("python3", ["-m", "venv", venv]);
    await execute(python, ["-m", "pip", "install", "--no-cache-dir", "-r", list]);
  });
}

// Install scripts are left out, which would download, and optional packages, which hold CUDA and Vulkan builds.
const npmFlags = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"];

const llamaStamp = join(cache, "llama-installed");

/** onnxruntime-node, node-llama-cpp, and what draws the chart. */
export function installNode(): Promise<void> {
  const stamp = join(cache, "node-installed");
  const list = join(here, "package-lock.json");
  const what = "onnxruntime-node, node-llama-cpp and vega";
  return once(stamp, list, what, "about 150 MB to download and 400 MB on disk", async () => {
    for (const name of ["package.json", "package-lock.json"]) {
      await copyFile(join(here, name), join(cache, name));
    }
    // Not `npm ci`: it refuses a lock file that lacks other platforms' optional packages, wanted or not.
    await execute("npm", ["install", ...npmFlags]);
    await rm(llamaStamp, { force: true }); // it is no dependency, so npm has removed it
  });
}

/** llama.cpp's CPU binary for this machine, beside node-llama-cpp. */
export async function installLlama(): Promise<void> {
  await installNode();
  const list = join(cache, "package.json");
  const { platform, arch } = process;
  const name =
    platform === "darwin" ? `mac-${arch}${arch === "arm64" ? "-metal" : ""}` : `${platform}-${arch}`;
  const { dependencies } = JSON.parse(await readFile(list, "utf8"));
  return once(llamaStamp, list, "llama.cpp", "30 MB", () =>
    execute("npm", [
      "install",
      "--no-save",
      ...npmFlags,
      `@node-llama-cpp/${name}@${dependencies["node-llama-cpp"]}`,
    ]),
  );
}
