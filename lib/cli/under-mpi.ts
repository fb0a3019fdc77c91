/**
 * A command that mpirun or srun started several times. The first process runs it. The others are ranks of the engines
 * that it loads, where it loads any, and have nothing to do where it doesn't.
 */
import type { Command } from "commander";
import { followMpi, leadMpi, mpiPlace } from "../mpi.js";
import type { Context } from "./context.js";
import { exitCodes } from "./failure.js";

const withEngines = new Set(["generate", "serve", "score", "eval", "bench"]);

function loadsEngines(command: Command): boolean {
  return withEngines.has(command.name()) || (command.parent !== null && loadsEngines(command.parent));
}

/** Returns the exit code: that of `body` where it runs. */
export async function underMpi(
  command: Command,
  context: Context,
  body: () => Promise<number>,
): Promise<number> {
  const place = mpiPlace();
  if (!place) return body();
  if (!loadsEngines(command)) return place.rank === 0 ? body() : exitCodes.ok;
  const worker = (await context.library.native()).native().worker();
  return place.rank === 0
    ? leadMpi(worker, place, context.signal, body)
    : followMpi(worker, place, context.signal);
}
