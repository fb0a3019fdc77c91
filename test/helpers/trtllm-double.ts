/**
 * Engines of backend "tensorrt-llm" over the double of test/trtllm: a CPU engine's weights under a manifest that says so.
 * The double reads config.json by TensorRT-LLM's rules, then runs our CPU executor over rank0.engine, rank1.engine ….
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type EngineManifest, readManifest, serializeManifest } from "../../lib/engine-directory.js";
import { buildEngine, KrakenError } from "../../lib/index.js";
import type { DType } from "../../lib/model-config.js";
import { stepLimits } from "../../lib/step-limits.js";
import { type TrtLlmLimitOptions, trtllmConfig, trtllmLimits } from "../../lib/trtllm/config.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** `npm run test:trtllm`: the library itself, and engines that were built for it. */
export const real = process.env.KRAKEN_TRTLLM_REAL === "1";

/** For tests of what only the double can be told to do, or whose results only it makes known. */
export const doubleOnly: string | false = real && "only TensorRT-LLM's double can be asked for this";

/** kraken-worker-trtllm over the double. */
export const doubleWorker = join(root, "build", "test", "trtllm", "kraken-worker-trtllm");

/** Why nothing can be tested here, or false. */
export const skip: string | false = real
  ? false
  : !existsSync(doubleWorker)
    ? "TensorRT-LLM's double is not built: it needs MPI (Debian: openmpi-bin and libopenmpi-dev)"
    : spawnSync("mpirun", ["--version"]).status !== 0
      ? "mpirun is not installed (Debian: openmpi-bin)"
      : false;

/** What makes ranks run over the double. */
export const doubleEnvironment = real ? {} : { KRAKEN_TRTLLM_WORKER: doubleWorker };

/** Where the engine of that many ranks is: built over the double in `root`, or the one for the library. */
export function engineFor(root: string, ranks: number): string {
  return join(real ? process.env.KRAKEN_TRTLLM_ENGINES! : root, `ranks-${ranks}`);
}

export interface DoubleOptions {
  ranks: number;
  random?: string;
  dtype?: DType;
  limits?: TrtLlmLimitOptions & { maxBatchSize?: number };
  change?: (manifest: EngineManifest) => void;
}

export async function buildDouble(
  output: string,
  { ranks, random = "kraken-tiny-4way", dtype = "float32", limits = {}, change }: DoubleOptions,
): Promise<void> {
  await buildEngine({ random, output, ranks, dtype });
  const manifest = await readManifest(output);
  const { config } = manifest;
  const steps = stepLimits({ maxBatchSize: limits.maxBatchSize }, config.maxPositions);
  const theirs = trtllmConfig(config, {
    ranks,
    dtype,
    limits: trtllmLimits(limits, steps, dtype),
    network: {},
  });
  Object.assign(manifest, theirs, { backend: "tensorrt-llm" });
  manifest.kraken!.plugins = 0;
  change?.(manifest);
  await writeFile(join(output, "config.json"), serializeManifest(manifest));
}

export interface RankProcess {
  pid: number;
  /** −1: not a rank, as mpirun. */
  rank: number;
  command: string;
}

/** Every process that an engine of this test process can have started, by what only those have in their environment. */
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

export const outcome = (work: PromiseLike<unknown>): Promise<string> =>
  Promise.resolve(work).then(
    () => "done",
    (error: unknown) => (error instanceof KrakenError ? `${error.code} ${error.message}` : String(error)),
  );
