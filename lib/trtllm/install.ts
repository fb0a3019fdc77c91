/**
 * Where TensorRT-LLM is on this machine: what TENSORRT_LLM_ROOT names, else the Python package that `pip show` knows; and
 * its C++ headers, which that package does not have. Only looks: nothing of it is loaded into this process.
 */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { RuntimeError } from "../errors.js";

export interface TrtLlmInstall {
  version: string;
  /** The folder of the Python package: libs/ among others. */
  root: string;
  /** libtensorrt_llm.so. */
  library: string;
  /** Folders with its libraries and with those they need. */
  libraryPath: string[];
}

const hint =
  "install it with `pip install tensorrt-llm==1.2.1` (docs/tensorrt-llm.md), or name its folder in TENSORRT_LLM_ROOT";
const limit = { timeout: 30_000, maxBuffer: 1 << 20 };

/** @throws RuntimeError ERR_BACKEND_UNAVAILABLE that says what is wrong with it */
export function checkVersion(version: string): void {
  if (/^1\.2\./.test(version)) return;
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const newer = major > 1 || (major === 1 && minor > 2);
  throw new RuntimeError(
    "ERR_BACKEND_UNAVAILABLE",
    `TensorRT-LLM ${version} is installed, backend "tensorrt-llm" needs 1.2.x: ` +
      (newer
        ? 'from 1.3 on it runs no TensorRT engines any more. Install tensorrt-llm==1.2.1, or use backend "tensorrt"'
        : "the interface of older releases differs. Install tensorrt-llm==1.2.1"),
  );
}

async function rootByPip(environment: NodeJS.ProcessEnv): Promise<{ root: string; version: string }> {
  const active = environment.VIRTUAL_ENV ? [join(environment.VIRTUAL_ENV, "bin", "python")] : [];
  for (const python of [...active, "python3", "python"]) {
    const shown = await promisify(execFile)(python, ["-m", "pip", "show", "tensorrt_llm"], {
      ...limit,
      env: environment,
    }).then(
      ({ stdout }) => stdout,
      () => "",
    );
    const location = /^Location: (.+)$/m.exec(shown)?.[1];
    const version = /^Version: (.+)$/m.exec(shown)?.[1];
    if (location && version) return { root: join(location.trim(), "tensorrt_llm"), version: version.trim() };
  }
  throw new RuntimeError("ERR_BACKEND_UNAVAILABLE", `TensorRT-LLM was not found: ${hint}`);
}

function versionOf(root: string): string {
  const file = join(root, "version.py");
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const version = /__version__\s*=\s*["']([^"']+)/.exec(text)?.[1];
  if (version) return version;
  throw new RuntimeError(
    "ERR_BACKEND_UNAVAILABLE",
    `${root} has no version.py that says which it is: ${hint}`,
  );
}

/** Beside the package: PyTorch's libraries, NVIDIA's, TensorRT's. */
function neighbours(root: string): string[] {
  const site = dirname(root);
  const nvidia = join(site, "nvidia");
  const parts = existsSync(nvidia) ? readdirSync(nvidia).map((name) => join(nvidia, name, "lib")) : [];
  return [join(site, "tensorrt_libs"), join(site, "torch", "lib"), ...parts].filter((folder) =>
    existsSync(folder),
  );
}

/** @throws RuntimeError ERR_BACKEND_UNAVAILABLE: not there, incomplete, or not 1.2.x */
export async function findTrtLlm(environment: NodeJS.ProcessEnv = process.env): Promise<TrtLlmInstall> {
  const named = environment.TENSORRT_LLM_ROOT;
  const { root, version } = named ? { root: named, version: versionOf(named) } : await rootByPip(environment);
  checkVersion(version);
  const library = join(root, "libs", "libtensorrt_llm.so");
  if (!existsSync(library)) {
    throw new RuntimeError(
      "ERR_BACKEND_UNAVAILABLE",
      `TensorRT-LLM ${version} is incomplete, ${library} is missing: ${hint}`,
    );
  }
  return { version, root, library, libraryPath: [join(root, "libs"), ...neighbours(root)] };
}

const header = join("tensorrt_llm", "executor", "executor.h");
/** Where NVIDIA's container images have them. */
const containerHeaders = "/app/tensorrt_llm/include";

/**
 * The folder of its C++ headers: what TENSORRT_LLM_INCLUDE names, as cpp/include of a clone, else where a package or a
 * container image has them.
 * @throws RuntimeError ERR_BACKEND_UNAVAILABLE: none there, or those of another release
 */
export function findTrtLlmHeaders(
  { root, version }: TrtLlmInstall,
  { TENSORRT_LLM_INCLUDE: named }: NodeJS.ProcessEnv = process.env,
): string {
  const found = (named ? [named] : [join(root, "include"), containerHeaders]).find((folder) =>
    existsSync(join(folder, header)),
  );
  if (found === undefined) {
    throw new RuntimeError(
      "ERR_BACKEND_UNAVAILABLE",
      `TensorRT-LLM's C++ headers (${header}) ${named ? `are not in TENSORRT_LLM_INCLUDE (${named})` : "were not found"}: the ` +
        `Python package has none; clone its sources at v${version} and name their cpp/include in TENSORRT_LLM_INCLUDE ` +
        "(docs/tensorrt-llm.md)",
    );
  }
  const clone = join(found, "..", "..", "tensorrt_llm");
  const other = existsSync(join(clone, "version.py")) ? versionOf(clone) : version;
  if (other === version) return found;
  throw new RuntimeError(
    "ERR_BACKEND_UNAVAILABLE",
    `the headers in ${found} are TensorRT-LLM ${other}'s, and ${version} is installed: their interface differs; check ` +
      `out v${version} there`,
  );
}
