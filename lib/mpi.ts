/**
 * Ranks that mpirun or srun started: every process runs the same command line. The first runs the command, the others
 * are ranks of its engines until it ends. MPI itself is spoken by a kraken-worker-mpi beside each of these processes,
 * never by Node: MPI may end its process, and may be entered but once.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { RuntimeError } from "./errors.js";
import type { NativeWorker } from "./native.js";

/** This process among those that were started together. */
export interface MpiPlace {
  rank: number;
  ranks: number;
  /** Why they cannot find each other; "" when they can. */
  trouble: string;
}

/** Ranks that wait for engines. */
export interface MpiWorld {
  /** Of each rank, this process's first, as MPI calls them. */
  hosts: readonly string[];
  /** Where rank 0 listens. */
  rendezvous: string;
}

/** A process can be part of MPI but once, so there is one of these at most. */
let led: MpiWorld | undefined;

/** The ranks that this process leads: Engine.load() uses them. */
export function ledMpiWorld(): MpiWorld | undefined {
  return led;
}

/**
 * A launcher's variables of rank and number, which only it sets, and what its processes need to find each other. A
 * variable alone says nothing: a shell inside an allocation has some of Slurm's, and what mpirun started passes its own on.
 */
const launchers = [
  { rank: "OMPI_COMM_WORLD_RANK", ranks: "OMPI_COMM_WORLD_SIZE", meet: ["PMIX_RANK"] },
  { rank: "SLURM_PROCID", ranks: "SLURM_STEP_NUM_TASKS", meet: ["PMIX_RANK", "PMI_RANK"] },
  { rank: "PMI_RANK", ranks: "PMI_SIZE", meet: ["PMI_PORT", "PMIX_RANK"] },
] as const;

/** The place that MPI's launcher has given this process; undefined where it is alone. */
export function mpiPlace(environment: NodeJS.ProcessEnv = process.env): MpiPlace | undefined {
  const number = (name: string) => {
    const text = environment[name];
    return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
  };
  for (const launcher of launchers) {
    const [rank, ranks] = [number(launcher.rank), number(launcher.ranks)];
    if (rank === undefined || ranks === undefined || rank >= ranks) continue;
    return ranks === 1 ? undefined : { rank, ranks, trouble: troubleOf(launcher, ranks, environment) };
  }
  return undefined;
}

function troubleOf(
  { rank, meet }: (typeof launchers)[number],
  ranks: number,
  environment: NodeJS.ProcessEnv,
): string {
  if (environment.PMI_FD !== undefined) {
    return (
      "this launcher gives its processes a descriptor (PMI_FD), which does not reach the ranks through Node: use " +
      "Open MPI's mpirun, or srun --mpi=pmix"
    );
  }
  if (meet.some((name) => environment[name] !== undefined)) return "";
  return (
    `${ranks} processes were started that cannot find each other through MPI (${rank} is set, but not ` +
    `${meet.join(" or ")}): srun needs --mpi=pmix; or start one process, and give it --hosts`
  );
}

const remedy =
  "install an MPI with its headers (Debian: openmpi-bin and libopenmpi-dev) and build again, in a clone by " +
  "`npm run build:native`, in an installed package by `node tools/setup.mjs --package` in its folder; or start ranks " +
  "with --hosts, which needs no MPI";

/**
 * kraken-worker-mpi: beside kraken-worker, or what KRAKEN_MPI_WORKER names.
 * @throws RuntimeError ERR_HOSTS (this build has none), ERR_NATIVE_LOAD (of another build)
 */
export async function findMpiWorker(
  worker: NativeWorker,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const path = environment.KRAKEN_MPI_WORKER || join(dirname(worker.path), "kraken-worker-mpi");
  if (!existsSync(path)) {
    throw new RuntimeError(
      "ERR_HOSTS",
      `this build has no kraken-worker-mpi, which ranks under mpirun need: ${remedy}`,
    );
  }
  const said = await promisify(execFile)(path, ["--version"], { timeout: 20_000 }).then(
    ({ stdout }) => stdout.trim(),
    (cause: unknown) => {
      const why = String((cause as { stderr?: string }).stderr || cause).trim();
      throw new RuntimeError(
        "ERR_HOSTS",
        `kraken-worker-mpi does not start: ${why.split("\n").at(-1)}; ${remedy}`,
      );
    },
  );
  if (said !== worker.version) {
    throw new RuntimeError(
      "ERR_NATIVE_LOAD",
      `kraken-worker-mpi is of another build: the addon needs ${worker.version}, found ${said.slice(0, 200)}; ${remedy}`,
    );
  }
  return path;
}

/** MPI's launcher ends everybody when one process fails: rank 0 gets the time to say what was lost. */
const lastWords = 1500;
/** For ranks that were told to leave. */
const farewell = 3000;

async function start(
  worker: NativeWorker,
  { trouble }: MpiPlace,
  stdin: "ignore" | "pipe",
  stdout: 2 | "pipe",
) {
  if (trouble) throw new RuntimeError("ERR_HOSTS", trouble);
  return spawn(await findMpiWorker(worker), ["--rank"], { stdio: [stdin, stdout, "inherit"] });
}

/**
 * What a rank other than the first does. Returns its exit code when the first has ended.
 * @throws RuntimeError ERR_HOSTS, ERR_NATIVE_LOAD
 */
export async function followMpi(worker: NativeWorker, place: MpiPlace, signal: AbortSignal): Promise<number> {
  const child = await start(worker, place, "ignore", 2);
  const end = () => child.kill("SIGKILL");
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  const [code] = await once(child, "exit");
  signal.throwIfAborted();
  if (code === 0) return 0;
  await sleep(lastWords, undefined, { signal }).catch(() => {});
  return 1;
}

/**
 * Runs `body` on rank 0 with the ranks that were started, and lets them go when it has ended.
 * @throws RuntimeError ERR_HOSTS when they do not meet, ERR_NATIVE_LOAD
 */
export async function leadMpi<T>(
  worker: NativeWorker,
  place: MpiPlace,
  signal: AbortSignal,
  body: () => Promise<T>,
): Promise<T> {
  const child = await start(worker, place, "pipe", "pipe");
  const exit = once(child, "exit");
  child.stdin!.on("error", () => {}); // it has ended: whoever uses it hears so
  try {
    led = await met(child, place, signal);
    return await body();
  } finally {
    led = undefined;
    child.stdin!.end();
    const late = setTimeout(() => child.kill("SIGKILL"), farewell);
    await exit;
    clearTimeout(late);
  }
}

/** What rank 0 prints when all have come: where it listens, and their hosts. */
async function met(child: ChildProcess, { ranks }: MpiPlace, signal: AbortSignal): Promise<MpiWorld> {
  const lines = createInterface({ input: child.stdout! });
  try {
    const line = await Promise.race([once(lines, "line", { signal }), once(lines, "close", { signal })]);
    const [rendezvous, ...hosts] = String(line[0] ?? "").split(" ");
    if (rendezvous && hosts.length === ranks) return { rendezvous, hosts };
  } catch (error) {
    child.kill("SIGKILL");
    throw signal.aborted ? signal.reason : error;
  }
  throw new RuntimeError(
    "ERR_HOSTS",
    `${ranks} processes were started, but they did not meet through MPI: is kraken-worker-mpi built with the MPI whose ` +
      "mpirun or srun started them? What they printed may say more",
  );
}
