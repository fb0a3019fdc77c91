/**
 * How the ranks of a "tensorrt-llm" engine are started: the command and the environment that MPI, TensorRT-LLM and our
 * plugins need, all set here, so that a user sets nothing. KRAKEN_MPIRUN replaces mpirun, arguments and all: hosts for
 * several nodes, or srun.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import type { EngineManifest } from "../engine-directory.js";
import { ArgumentError, EngineDirectoryError, RuntimeError } from "../errors.js";
import type { NativeAddon, NativeLaunch } from "../native.js";
import { checkVersion } from "./install.js";
import { findTrtLlmWorker, joined } from "./worker.js";

/** Until rank 0 has said hello: a minute, or KRAKEN_START_SECONDS for clusters that take longer. */
function startTimeout({ KRAKEN_START_SECONDS: text }: NodeJS.ProcessEnv): number {
  const seconds = text === undefined ? 60 : Number(text);
  if (seconds > 0 && seconds <= 3600) return Math.round(seconds * 1000);
  throw new ArgumentError("ERR_OPTION", `KRAKEN_START_SECONDS must be from 1 to 3600, got ${text}`);
}

/** @throws RuntimeError ERR_BACKEND_UNAVAILABLE: no mpirun, or one of another MPI */
async function checkMpi(program: string): Promise<void> {
  const said = await promisify(execFile)(program, ["--version"], { timeout: 20_000 }).then(
    ({ stdout, stderr }) => `${stdout}\n${stderr}`.trim(),
    (cause: unknown) => {
      throw new RuntimeError(
        "ERR_BACKEND_UNAVAILABLE",
        `${program} cannot be run, and ranks of backend "tensorrt-llm" need it: install Open MPI (Debian, Ubuntu: ` +
          "openmpi-bin and libopenmpi-dev), or name one in KRAKEN_MPIRUN",
        { cause },
      );
    },
  );
  if (/Open MPI\) [45]\.|Open ?MPI [45]\.|OpenRTE\) [45]\.|PRRTE/.test(said)) return;
  throw new RuntimeError(
    "ERR_BACKEND_UNAVAILABLE",
    `${program} is of another MPI than TensorRT-LLM is built with, Open MPI 4 or 5: it says ${said.split("\n")[0]?.slice(0, 100)}`,
  );
}

/** Variables that ranks on other machines need as well. */
function forwarded(environment: Record<string, string>): string[] {
  return Object.keys(environment)
    .filter((name) => !name.startsWith("OMPI_"))
    .flatMap((name) => ["-x", name]);
}

/** The library of our plugins: what KRAKEN_PLUGINS names, else the one beside the addon, where this build has one. */
function plugins(addon: NativeAddon, { KRAKEN_PLUGINS: named }: NodeJS.ProcessEnv): string | undefined {
  if (named) return named;
  const path = join(dirname(addon.worker().path), "libkraken_plugins_trt10.so");
  return existsSync(path) ? path : undefined;
}

/**
 * The command for an engine, checked as far as it can be before anything starts.
 * @throws RuntimeError ERR_BACKEND_UNAVAILABLE, ERR_NATIVE_LOAD; EngineDirectoryError ERR_ENGINE_VERSION
 */
export async function trtllmLaunch(
  directory: string,
  manifest: EngineManifest,
  addon: NativeAddon,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<NativeLaunch> {
  const worker = await findTrtLlmWorker(addon.worker(), environment);
  checkVersion(worker.version);
  if (manifest.version !== worker.version) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_VERSION",
      `${directory} was built for TensorRT-LLM ${manifest.version}, ${worker.version} is installed: build it again, ` +
        `or install ${manifest.version}`,
    );
  }
  const startTimeoutMs = startTimeout(environment);
  const [program = "mpirun", ...given] = environment.KRAKEN_MPIRUN?.split(/\s+/).filter(Boolean) ?? [];
  const library = manifest.kraken?.plugins ? plugins(addon, environment) : undefined;
  const libraryPath = joined(worker.libraryPath, environment);
  const added = {
    ...(libraryPath && { LD_LIBRARY_PATH: libraryPath }),
    ...(library && { KRAKEN_PLUGINS: library }),
    // Waiting ranks leave their core to those that work, and a container's root may run them.
    OMPI_MCA_mpi_yield_when_idle: "1",
    ...(process.getuid?.() === 0 && { OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1" }),
  };
  const ranks = String(manifest.ranks);
  if (basename(program) === "srun") {
    return {
      command: [program, "--ntasks", ranks, ...given, worker.path, "--rank"],
      environment: added,
      startTimeoutMs,
    };
  }
  await checkMpi(program);
  return {
    command: [
      program,
      "-np",
      ranks,
      "--oversubscribe",
      "--bind-to",
      "none",
      ...forwarded(added),
      ...given,
      worker.path,
      "--rank",
    ],
    environment: added,
    startTimeoutMs,
  };
}

/** As a shell would take it, for --verbose. */
export function shownLaunch({ command, environment }: NativeLaunch): string {
  const quoted = (word: string) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${quoted(value)}`);
  return [...variables, ...command.map(quoted)].join(" ");
}
