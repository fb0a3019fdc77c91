/** kraken eval perplexity: of whole files, in windows of the context. */
import type { Command } from "commander";
import type { PerplexityReport, PerplexityScore } from "../../eval/perplexity.js";
import { columns } from "../../report/columns.js";
import type { Context } from "../context.js";
import { addEngineFlags, type EngineFlags } from "../engine-flags.js";
import { UsageError } from "../failure.js";
import { addFlag, integer } from "../flags.js";
import { plural, whole } from "../output.js";
import { addResultFlags, engineAndRest, type ResultFlags, runEvaluation } from "./eval-run.js";

interface Flags extends EngineFlags, ResultFlags {
  context?: number;
  stride?: number;
}

const help = `
Examples:
  kraken eval perplexity engines/demo held-out.txt
  kraken eval perplexity engines/demo *.txt --context 1024 --stride 512 --output perplexity.json

Windows of --context tokens move by --stride; each gives the probabilities of the tokens that none before it gave, as in
"Perplexity of fixed-length models" of the transformers documentation. A smaller stride gives tokens more context, takes
longer, and is closer to what the model can do. Every file is a text of its own.

With --output, what is done is kept in a journal beside it: the same command goes on after an interruption.
`;

export function addEvalPerplexity(parent: Command, context: Context): void {
  const command = parent
    .command("perplexity")
    .description("perplexity of text files")
    .argument("[engine]", "engine directory")
    .argument("[files...]", "UTF-8 texts")
    .addHelpText("after", help.trimEnd());
  command.optionsGroup("Windows:");
  addFlag(command, "--context <n>", "tokens of a window (default: the most the engine takes)", {
    parse: integer,
    env: false,
  });
  addFlag(command, "--stride <n>", "tokens from a window to the next (default: half the context)", {
    parse: integer,
    env: false,
  });
  addEngineFlags(command);
  addResultFlags(command);
  command.helpOption("-h, --help", "show help");
  command.action((engine: string | undefined, files: string[], flags: Flags) =>
    perplexity(engineAndRest(engine, files, flags), flags, context),
  );
}

async function perplexity(
  { directory, rest: files }: { directory: string; rest: string[] },
  flags: Flags,
  context: Context,
): Promise<void> {
  if (files.length === 0) throw new UsageError("perplexity of what? Give at least one text file");
  const { evaluatePerplexity } = await context.library.evaluation();
  const { context: tokens, stride } = flags;
  await runEvaluation(
    directory,
    flags,
    context,
    (engine, { showProgress, ...run }) =>
      evaluatePerplexity(engine, files, {
        ...run,
        context: tokens,
        stride,
        onProgress: (progress) => showProgress("scoring", progress, "tokens"),
      }),
    summary,
  );
}

const header = ["text", "perplexity", "nats/token", "bits/byte", "tokens", "scored", "bytes"];

function row(name: string, score: PerplexityScore): string[] {
  return [
    name,
    score.perplexity.toPrecision(6),
    score.natsPerToken.toFixed(4),
    score.bitsPerByte.toFixed(4),
    whole(score.tokens),
    whole(score.scoredTokens),
    whole(score.bytes),
  ];
}

function summary(report: PerplexityReport): string {
  const { files, windows, context, stride } = report;
  const rows = files.map((score) => row(score.file, score));
  if (files.length > 1) rows.push(row("all", report));
  const how = `${plural(windows, "window")} of ${whole(context)} tokens, stride ${whole(stride)}`;
  return `${columns(header, rows)}${how}\n`;
}
