/** Facts about this machine that decide what runs on it. Nothing that identifies its user. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { arch, availableParallelism, cpus, freemem, homedir, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findMpiWorker } from "../mpi.js";
import type { NativeCapability, NativeGpuProbe, NativeWorker } from "../native.js";
import { checkVersion } from "../trtllm/install.js";
import { findTrtLlmWorker } from "../trtllm/worker.js";
import { version } from "../version.js";
import type { Library } from "./context.js";

export interface Diagnosis {
  version: string;
  node: { version: string; platform: string; arch: string; napi: string };
  system: { name: string; kernel: string; libc: string };
  /** cores: of the machine; usable: by this process. features: the vector extensions that kernels know of. */
  cpu: { model: string; cores: number; usable: number; features: string[] };
  /** limitBytes: of the container, where there is one. */
  memory: { totalBytes: number; freeBytes: number; limitBytes: number | null };
  addon: { loaded: true; version: string } | { loaded: false; reason: string };
  /** kraken-worker, for engines in a process of their own; only with the addon. */
  worker?: { available: true; version: string } | { available: false; reason: string };
  /** kraken-worker-mpi, for ranks that mpirun or srun start; only with the addon. */
  mpi?: { available: true; version: string } | { available: false; reason: string };
  backends: Record<string, NativeCapability>;
  libraries: Record<string, string>;
  /** Null where the addon does not load. */
  gpu: NativeGpuProbe | null;
  /** What ranks of backend "tensorrt-llm" would run with; only with the addon, and where it was looked for. `target` says why that line and no other. */
  trtllm?: { target: string } & ({ available: true; version: string } | { available: false; reason: string });
  /** Settings that change how threads behave. */
  environment: string[];
}

export function healthy(diagnosis: Diagnosis): boolean {
  return Object.values(diagnosis.backends).some((backend) => backend.available);
}

const features = [
  "avx2",
  "fma",
  "f16c",
  "avx512f",
  "avx512_vnni",
  "avx512_bf16",
  "amx_bf16",
  "asimd",
  "bf16",
  "sve",
];
const variables = [
  "KRAKEN_CPU_ISA",
  "KRAKEN_THREADS_PER_RANK",
  "KRAKEN_ISOLATION",
  "KRAKEN_MPIRUN",
  "KRAKEN_START_SECONDS",
  "OMP_NUM_THREADS",
  "OMP_WAIT_POLICY",
  "OMP_PROC_BIND",
  "GOMP_SPINCOUNT",
  "GOMP_CPU_AFFINITY",
];

const readText = (path: string) => readFile(path, "utf8").catch(() => "");

async function systemName(): Promise<string> {
  const pretty = /^PRETTY_NAME="?([^"\n]*)/m.exec(await readText("/etc/os-release"));
  return pretty?.[1] ?? type();
}

function libc(): string {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const glibc = report?.header?.glibcVersionRuntime;
  return glibc ? `glibc ${glibc}` : "";
}

async function cpuFeatures(): Promise<string[]> {
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(await readText("/proc/cpuinfo"));
  const present = new Set(line?.[1]?.split(/\s+/));
  return features.filter((feature) => present.has(feature));
}

/** The container's limit, where it is less than the machine's memory. */
function memoryLimit(): number | null {
  const limit = (process as { constrainedMemory?(): number | undefined }).constrainedMemory?.();
  return limit && limit < totalmem() ? limit : null;
}

/** Messages of a failed load name files; whose they are is nobody's business. */
export function withoutPaths(message: string): string {
  const root = join(fileURLToPath(new URL(".", import.meta.url)), "..", "..");
  const home = homedir();
  const shorter = message.replaceAll(root.replace(/\/$/, ""), "<package>");
  return home.length > 1 ? shorter.replaceAll(home, "~") : shorter;
}

/** Asks the worker itself: one of another build would be refused when an engine is loaded. */
async function workerState({ path, version, trouble }: NativeWorker): Promise<Diagnosis["worker"]> {
  if (trouble) return { available: false, reason: withoutPaths(trouble) };
  try {
    const { stdout } = await promisify(execFile)(path, ["--version"], { timeout: 10_000 });
    const found = stdout.trim().slice(0, 200);
    return found === version
      ? { available: true, version: found }
      : { available: false, reason: `the addon needs ${version}, found ${found || "something silent"}` };
  } catch (error) {
    return { available: false, reason: withoutPaths(error instanceof Error ? error.message : String(error)) };
  }
}

async function mpiState(worker: NativeWorker): Promise<Diagnosis["mpi"]> {
  try {
    await findMpiWorker(worker);
    return { available: true, version: worker.version };
  } catch (error) {
    return { available: false, reason: withoutPaths((error as Error).message) };
  }
}

const trtllmTarget = "1.2.x, the last line that runs TensorRT engines: 1.3 removed them";

async function trtllmState(worker: NativeWorker): Promise<Diagnosis["trtllm"]> {
  try {
    const { version } = await findTrtLlmWorker(worker);
    checkVersion(version);
    return { target: trtllmTarget, available: true, version };
  } catch (error) {
    return { target: trtllmTarget, available: false, reason: withoutPaths((error as Error).message) };
  }
}

/** `trtllm`: whether to look for TensorRT-LLM, which asks Python and takes a second. */
export async function diagnose(library: Library, { trtllm: look = false } = {}): Promise<Diagnosis> {
  const diagnosis: Diagnosis = {
    version,
    node: {
      version: process.version,
      platform: process.platform,
      arch: arch(),
      napi: process.versions.napi ?? "?",
    },
    system: { name: await systemName(), kernel: `${type()} ${release()}`, libc: libc() },
    cpu: {
      model: cpus()[0]?.model.trim() || "unknown processor",
      cores: cpus().length,
      usable: availableParallelism(),
      features: await cpuFeatures(),
    },
    memory: { totalBytes: totalmem(), freeBytes: freemem(), limitBytes: memoryLimit() },
    addon: { loaded: false, reason: "" },
    backends: {},
    libraries: {},
    gpu: null,
    environment: variables.flatMap((name) => (process.env[name] ? `${name}=${process.env[name]}` : [])),
  };
  try {
    const addon = (await library.native()).native();
    const { backends, libraries } = addon.capabilities();
    const [worker, mpi, trtllm] = await Promise.all([
      workerState(addon.worker()),
      mpiState(addon.worker()),
      look ? trtllmState(addon.worker()) : undefined,
    ]);
    return {
      ...diagnosis,
      addon: { loaded: true, version: addon.version },
      ...(worker && { worker }),
      ...(mpi && { mpi }),
      ...(trtllm && { trtllm }),
      backends,
      libraries,
      gpu: addon.probeGpu(),
    };
  } catch (error) {
    const reason = withoutPaths(error instanceof Error ? error.message : String(error));
    return { ...diagnosis, addon: { loaded: false, reason } };
  }
}
