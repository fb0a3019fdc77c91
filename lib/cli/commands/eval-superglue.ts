/** kraken eval superglue: the eight tasks, by the likelihood of their choices. */
import type { Command } from "commander";
import type { SuperglueReport } from "../../eval/superglue/evaluate.js";
import { columns } from "../../report/columns.js";
import type { Context } from "../context.js";
import { addEngineFlags, type EngineFlags } from "../engine-flags.js";
import { UsageError } from "../failure.js";
import { addFlag, integer, words } from "../flags.js";
import { plural, whole } from "../output.js";
import { addResultFlags, engineAndRest, type ResultFlags, runEvaluation } from "./eval-run.js";

interface Flags extends EngineFlags, ResultFlags {
  tasks?: string[];
  shots?: number;
  seed?: number;
  limit?: number;
}

const help = `
Examples:
  kraken eval superglue engines/demo superglue
  kraken eval superglue engines/demo superglue --tasks boolq,cb,copa --shots 3 --output superglue.json

The directory holds the official files: BoolQ/val.jsonl, CB/val.jsonl … and with --shots train.jsonl beside them.
Prompts, choices and metrics are those of LM Evaluation Harness (docs/quality.md says which version, and what differs).

With --output, what is done is kept in a journal beside it: the same command goes on after an interruption.
`;

export function addEvalSuperglue(parent: Command, context: Context): void {
  const command = parent
    .command("superglue")
    .description("SuperGLUE: BoolQ, CB, COPA, MultiRC, ReCoRD, RTE, WiC, WSC")
    .argument("[engine]", "engine directory")
    .argument("[directory]", "SuperGLUE's files")
    .addHelpText("after", help.trimEnd());
  command.optionsGroup("Examples:");
  const flag = (flags: string, text: string, settings = {}) =>
    addFlag(command, flags, text, { env: false, ...settings });
  flag("--tasks <list>", "boolq,cb,copa,multirc,record,rte,wic,wsc (default: all)", { parse: words });
  flag("--shots <n>", "answered examples before each prompt (default: 0)", {
    parse: integer,
    aliases: ["--num-fewshot", "--num_fewshot"],
  });
  flag("--seed <n>", "of the choice of those examples (default: 1234)", { parse: integer });
  flag("--limit <n>", "only the first n examples of each task", { parse: integer });
  addEngineFlags(command);
  addResultFlags(command);
  command.helpOption("-h, --help", "show help");
  command.action((engine: string | undefined, directory: string | undefined, flags: Flags) =>
    superglue(engineAndRest(engine, directory === undefined ? [] : [directory], flags), flags, context),
  );
}

async function superglue(
  { directory, rest }: { directory: string; rest: string[] },
  flags: Flags,
  context: Context,
): Promise<void> {
  const [data] = rest;
  if (data === undefined) throw new UsageError("where are SuperGLUE's files? Give their directory");
  const { evaluateSuperglue } = await context.library.evaluation();
  const { tasks, shots, seed, limit } = flags;
  await runEvaluation(
    directory,
    flags,
    context,
    (engine, { showProgress, ...run }) =>
      evaluateSuperglue(engine, data, {
        ...run,
        tasks,
        shots,
        seed,
        limit,
        onProgress: (progress) => showProgress(progress.task, progress, "characters"),
      }),
    summary,
  );
}

function summary({ tasks, shots, seed }: SuperglueReport): string {
  const percent = (share: number) => (Number.isNaN(share) ? "–" : `${(100 * share).toFixed(2)} %`);
  const rows = tasks.flatMap(({ task, examples, metrics }) =>
    Object.entries(metrics).map(([name, { value, stderr }]) => [
      task,
      name,
      percent(value),
      percent(stderr),
      whole(examples),
    ]),
  );
  const how = shots === 0 ? "zero-shot" : `${plural(shots, "shot")}, seed ${seed}`;
  const cut = tasks
    .filter((task) => task.cut > 0)
    .map((task) => `${task.task}: ${whole(task.cut)} of ${whole(task.examples)}`);
  const lost = cut.length > 0 ? `prompts cut at their beginning to fit the context: ${cut.join(", ")}\n` : "";
  return `${columns(["task", "metric", "value", "std error", "examples"], rows)}${how}\n${lost}`;
}
