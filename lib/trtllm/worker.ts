/**
 * kraken-worker-trtllm: where it is, whether it fits, and how it is built. It is compiled on the machine that runs it,
 * against the headers of the TensorRT-LLM installed there, and kept apart by build and version, so that neither an update
 * of ours nor of theirs leaves one that does not fit.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { RuntimeError } from "../errors.js";
import type { NativeWorker } from "../native.js";
import { findTrtLlm, findTrtLlmHeaders, type TrtLlmInstall } from "./install.js";

const run = promisify(execFile);
const remedy = "`kraken doctor --build-trtllm` builds it";

/** "kraken-worker 0.1.0 (protocol 1, build 0123456789abcdef)": the hash of its sources. */
const buildOf = ({ version }: NativeWorker) => /build (\w+)\)/.exec(version)?.[1] ?? "unknown";

function folder(worker: NativeWorker, installed: string, environment: NodeJS.ProcessEnv): string {
  const cache = environment.XDG_CACHE_HOME || join(homedir(), ".cache");
  return join(cache, "kraken-engine", "trtllm", `${installed}-${buildOf(worker)}`);
}

export interface TrtLlmWorker {
  path: string;
  /** Folders that its libraries are found in. */
  libraryPath: string[];
  /** Of TensorRT-LLM. */
  version: string;
}

/**
 * KRAKEN_TRTLLM_WORKER names one that was built by other means, its libraries found by LD_LIBRARY_PATH or by itself.
 * @throws RuntimeError ERR_BACKEND_UNAVAILABLE (no TensorRT-LLM, not built, libraries missing), ERR_NATIVE_LOAD (of another build)
 */
export async function findTrtLlmWorker(
  worker: NativeWorker,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<TrtLlmWorker> {
  const named = environment.KRAKEN_TRTLLM_WORKER;
  const install = named ? undefined : await findTrtLlm(environment);
  const path = named ?? join(folder(worker, install!.version, environment), "kraken-worker-trtllm");
  const libraryPath = install?.libraryPath ?? [];
  if (!existsSync(path)) {
    throw new RuntimeError(
      "ERR_BACKEND_UNAVAILABLE",
      named
        ? `KRAKEN_TRTLLM_WORKER names ${path}, which does not exist`
        : `TensorRT-LLM ${install!.version} is installed, but kraken-worker-trtllm is not built for it: ${remedy}`,
    );
  }
  const said = await run(path, ["--version"], {
    timeout: 60_000,
    env: { ...environment, LD_LIBRARY_PATH: joined(libraryPath, environment) },
  }).then(
    ({ stdout }) => stdout.trim(),
    (cause: unknown) => {
      const why = String((cause as { stderr?: string }).stderr || cause).trim();
      throw new RuntimeError(
        "ERR_BACKEND_UNAVAILABLE",
        `kraken-worker-trtllm does not start: ${why.split("\n").at(-1)}`,
      );
    },
  );
  const version = said.startsWith(`${worker.version}, TensorRT-LLM `)
    ? said.slice(`${worker.version}, TensorRT-LLM `.length)
    : undefined;
  if (version === undefined) {
    throw new RuntimeError(
      "ERR_NATIVE_LOAD",
      `kraken-worker-trtllm is of another build: the addon needs ${worker.version}, found ${said.slice(0, 200)}; ${remedy}`,
    );
  }
  return { path, libraryPath, version };
}

/** For LD_LIBRARY_PATH: ours first. */
export function joined(libraryPath: readonly string[], environment: NodeJS.ProcessEnv): string {
  return [...libraryPath, environment.LD_LIBRARY_PATH].filter(Boolean).join(":");
}

/** cuda_fp16.h, which TensorRT-LLM's headers include. */
function cudaInclude({ root }: TrtLlmInstall, environment: NodeJS.ProcessEnv): string {
  const site = dirname(root);
  const folders = [environment.CUDA_HOME, environment.CUDA_PATH, "/usr/local/cuda"]
    .filter((base): base is string => Boolean(base))
    .map((base) => join(base, "include"));
  const packaged = ["cu13", "cuda_runtime", "cu12"].map((name) => join(site, "nvidia", name, "include"));
  const found = [...folders, ...packaged].find((path) => existsSync(join(path, "cuda_fp16.h")));
  if (found) return found;
  throw new RuntimeError(
    "ERR_BACKEND_UNAVAILABLE",
    "cuda_fp16.h was not found, which TensorRT-LLM's headers include: name a CUDA toolkit in CUDA_HOME",
  );
}

/**
 * Builds it with cmake, and says where it is.
 * @throws RuntimeError ERR_BACKEND_UNAVAILABLE: no TensorRT-LLM 1.2.x, no headers of it or of CUDA, no MPI, or it does not compile
 */
export async function buildTrtLlmWorker(
  worker: NativeWorker,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<TrtLlmWorker> {
  const install = await findTrtLlm(environment);
  const directory = folder(worker, install.version, environment);
  // lib/trtllm/ in a clone, dist/trtllm/ in the package.
  const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
  const source = join(root, "native", "backend", "trtllm");
  const include = findTrtLlmHeaders(install, environment);
  const cuda = readsCuda(include) ? [`-DTRTLLM_CUDA_INCLUDE=${cudaInclude(install, environment)}`] : [];
  const defines = [`-DTRTLLM_INCLUDE=${include}`, `-DTRTLLM_LIBRARY=${install.library}`, ...cuda];
  await mkdir(directory, { recursive: true });
  const limits = { maxBuffer: 64 << 20, env: environment };
  try {
    await run("cmake", ["-S", source, "-B", directory, ...defines], limits);
    await run("cmake", ["--build", directory, "--parallel", "2"], limits);
  } catch (cause) {
    const { stdout = "", stderr = "", message } = cause as Error & { stdout?: string; stderr?: string };
    const said = `${stdout}\n${stderr}`.split("\n").filter((line) => /error|not found|Could NOT/i.test(line));
    const mpi = said.some((line) => /MPI/.test(line)) ? "; install Open MPI (Debian: libopenmpi-dev)" : "";
    throw new RuntimeError(
      "ERR_BACKEND_UNAVAILABLE",
      `kraken-worker-trtllm could not be built for TensorRT-LLM ${install.version}: ${said[0] ?? message}${mpi}`,
      { cause },
    );
  }
  return findTrtLlmWorker(worker, environment);
}

/** The real headers do; those of a double do not. */
function readsCuda(include: string): boolean {
  return existsSync(join(include, "tensorrt_llm", "common", "assert.h"));
}
