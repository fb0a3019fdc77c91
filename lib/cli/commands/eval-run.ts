/** What the evaluations share: an engine, a progress bar, and a result that is written whole or not at all. */
import { rename, rm, stat, writeFile } from "node:fs/promises";
import type { Command } from "commander";
import type { Engine } from "../../engine.js";
import { ArgumentError } from "../../errors.js";
import type { EvalProgress } from "../../eval/perplexity.js";
import { withIoErrors } from "../../io-error.js";
import type { Context } from "../context.js";
import { type EngineFlags, engineDirectory, loadOptions } from "../engine-flags.js";
import { addFlag } from "../flags.js";
import { printJson } from "../output.js";
import { Pace, ProgressBar } from "../progress.js";

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

/** How the evaluation is to run. */
export interface Run {
  concurrency: number;
  journal: string | undefined;
  signal: AbortSignal;
  showProgress(label: string, progress: EvalProgress, unit: string): void;
}

/** Evaluates, writes the output, and prints the report: as JSON, or as `summary` words it. */
export async function runEvaluation<Report extends object>(
  directory: string,
  flags: EngineFlags & ResultFlags,
  context: Context,
  evaluate: (engine: Engine, run: Run) => Promise<Report>,
  summary: (report: Report) => string,
): Promise<void> {
  if (flags.output !== undefined && !flags.force) await checkAbsent(flags.output);
  const { Engine } = await context.library.engine();
  const engine = await Engine.load(directory, loadOptions(flags, context));
  const bar = new ProgressBar(context.stderr, !flags.json);
  const pace = new Pace();
  try {
    const report = await evaluate(engine, {
      // There is always a request waiting when one ends.
      concurrency: 2 * (flags.maxBatchSize ?? 8),
      journal: flags.output === undefined ? undefined : journalOf(flags.output),
      signal: context.signal,
      showProgress: (label, { done, total, earlier }, unit) =>
        bar.count(label, done, total, unit, pace.secondsLeft(done - earlier, total - done)),
    });
    bar.clear();
    const document = { engine: directory, ...report };
    if (flags.output !== undefined) await writeOutput(flags.output, document);
    if (flags.json) printJson(context.stdout, document);
    else context.stdout.write(summary(report));
  } finally {
    bar.clear();
    await engine.dispose();
  }
}

const journalOf = (output: string) => `${output}.journal`;

async function checkAbsent(output: string): Promise<void> {
  const found = await stat(output).catch(() => undefined);
  if (!found) return;
  throw new ArgumentError(
    "ERR_OPTION",
    `\`output\` ${output} exists already: that run is complete. Choose another, or replace it with --force`,
  );
}

/** The journal has served once the output is there. */
async function writeOutput(output: string, document: object): Promise<void> {
  await withIoErrors(`write ${output}`, async () => {
    const temporary = `${output}.writing-${process.pid}`;
    await writeFile(temporary, `${JSON.stringify(document, null, 2)}\n`);
    await rename(temporary, output);
    await rm(journalOf(output), { force: true });
  });
}
