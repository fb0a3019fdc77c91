/** What the evaluations share: their engine argument, and a result that is written whole or not at all. */
import { rename, rm, stat, writeFile } from "node:fs/promises";
import type { Command } from "commander";
import { ArgumentError } from "../../errors.js";
import { withIoErrors } from "../../io-error.js";
import { type EngineFlags, engineDirectory } from "../engine-flags.js";
import { addFlag } from "../flags.js";

export interface ResultFlags {
  output?: string;
  force?: true;
  json?: true;
}

export function addResultFlags(command: Command): void {
  command.optionsGroup("Run:");
  addFlag(command, "--output <file>", "write the JSON document there; makes the run resumable", {
    env: false,
  });
  addFlag(command, "--force", "replace an output that exists");
  addFlag(command, "--json", "print one JSON document");
}

/** With --engine-dir every argument is what follows the engine. */
export function engineAndRest(
  engine: string | undefined,
  rest: readonly string[],
  flags: EngineFlags,
): { directory: string; rest: string[] } {
  if (flags.engineDir === undefined) return { directory: engineDirectory(engine, flags), rest: [...rest] };
  return { directory: flags.engineDir, rest: engine === undefined ? [] : [engine, ...rest] };
}

/** Twice what the engine runs at a time: there is always a request waiting when one ends. */
export const requestsAtOnce = ({ maxBatchSize = 8 }: EngineFlags): number => 2 * maxBatchSize;

export interface Result {
  /** Where the run keeps what is done; undefined without an output. */
  journal: string | undefined;
  /** Writes the output, and removes the journal. @throws RuntimeError ERR_IO */
  write(document: unknown): Promise<void>;
}

/** @throws ArgumentError ERR_OPTION when the output exists and may not be replaced */
export async function openResult({ output, force }: ResultFlags): Promise<Result> {
  if (output === undefined) return { journal: undefined, write: async () => {} };
  const journal = `${output}.journal`;
  const exists = await stat(output).then(
    () => true,
    () => false,
  );
  if (exists && !force) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`output\` ${output} exists already: that run is complete. Choose another, or replace it with --force`,
    );
  }
  return {
    journal,
    write: (document) =>
      withIoErrors(`write ${output}`, async () => {
        const temporary = `${output}.writing-${process.pid}`;
        await writeFile(temporary, `${JSON.stringify(document, null, 2)}\n`);
        await rename(temporary, output);
        await rm(journal, { force: true });
      }),
  };
}
