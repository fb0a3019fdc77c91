/** kraken bench ttft, kraken bench latency: a grid of models that take turns. */
import type { Command } from "commander";
import type { BenchRecord } from "../../bench/document.js";
import type { Phase } from "../../bench/options.js";
import { pageHtml } from "../../report/html.js";
import { pageMarkdown, pageText } from "../../report/page.js";
import { benchCsv } from "../bench/csv.js";
import { benchEnvironment } from "../bench/environment.js";
import { addGridFlags, benchOptions, type GridFlags } from "../bench/grid-flags.js";
import { checkOutputs, type Rendered, writeOutputs, writeWhole } from "../bench/outputs.js";
import { progressLine } from "../bench/progress.js";
import { benchPage, benchSummary } from "../bench/report.js";
import type { Context } from "../context.js";
import { BrokenPipe, Interrupted, UsageError } from "../failure.js";
import { plural } from "../output.js";
import { ProgressBar } from "../progress.js";

type Bench = Awaited<ReturnType<Context["library"]["bench"]>>;

const helps: Record<Phase, string> = {
  prefill: `
Standard, parallel, Ladder-Residual and Kraken models of one parameter budget take turns in one process, each also
without its collectives (the bound), and on one rank with all the threads. docs/ttft.md says what the numbers mean.

Examples:
  kraken bench ttft                                               paper:125m on 2 ranks
  kraken bench ttft --models paper:125m,paper:350m --ranks 1,2 --html report.html
  kraken bench ttft --link 1Gbit,50us --json slow.json            as if the ranks were two machines
  kraken bench ttft --models engines/mine,gpt2-124m               your engine, and something to compare it with
  kraken bench ttft --json results.json --resume                  go on after Ctrl-C
`,
  decode: `
As kraken bench ttft, but the time from one token to the next while all sequences of a batch decode.

Examples:
  kraken bench latency                                            paper:125m on 2 ranks, batches of 1 to 8
  kraken bench latency --models engines/mine --batch 1,16 --context 512
`,
};

const commands: Record<Phase, { name: string; description: string }> = {
  prefill: { name: "ttft", description: "time to first token of several architectures, side by side" },
  decode: { name: "latency", description: "time from token to token over batch sizes" },
};

export function addBenchGrid(bench: Command, context: Context, phase: Phase): void {
  const { name, description } = commands[phase];
  const command = bench.command(name).description(description).addHelpText("after", helps[phase].trimEnd());
  addGridFlags(command, phase === "decode");
  command.helpOption("-h, --help", "show help");
  command.action((flags: GridFlags) => run(flags, phase, context));
}

function rendered(record: BenchRecord, library: Bench, context: Context): Rendered {
  const analysis = library.analyse(record);
  return {
    json: () => ({ ...record, ...analysis, findings: library.findings(analysis) }),
    csv: () => benchCsv(analysis),
    markdown: () => pageMarkdown(benchPage(record, analysis)),
    html: async () => {
      const { loadCharts } = await context.library.charts();
      return pageHtml(benchPage(record, analysis, await loadCharts()));
    },
    text: () => pageText(benchSummary(record, analysis), context.stdout.columns),
  };
}

async function run(flags: GridFlags, phase: Phase, context: Context): Promise<void> {
  const { signal } = context;
  const file = typeof flags.json === "string" ? flags.json : undefined;
  if (flags.resume && file === undefined)
    throw new UsageError("--resume needs --json FILE: what should it go on with?");
  const library = await context.library.bench();
  const settings = library.resolveBench(phase, benchOptions(flags));
  await checkOutputs(flags);
  const environment = await benchEnvironment(context);
  const earlier =
    flags.resume && file !== undefined ? await library.earlierCells(file, phase, settings, environment) : [];
  const plan = await library.planGrid(settings);
  const document = (record: BenchRecord) => rendered(record, library, context);
  const bar = new ProgressBar(context.stderr, flags.json !== true);
  try {
    const record = await library.runGrid(plan, {
      phase,
      environment,
      earlier,
      signal,
      onProgress: (progress) => bar.show(progressLine(progress)),
      onCell: async (sofar) => {
        if (file !== undefined) await writeWhole(file, `${JSON.stringify(document(sofar).json())}\n`);
      },
    });
    bar.clear();
    if (signal.reason instanceof BrokenPipe) throw signal.reason;
    await writeOutputs(flags, document(record), context);
    if (signal.reason instanceof Interrupted) tellInterrupted(record, signal.reason, flags, context);
  } finally {
    bar.clear();
  }
}

/** No exception: what was measured is written, and is all that stdout has. */
function tellInterrupted(record: BenchRecord, reason: Interrupted, flags: GridFlags, context: Context): void {
  context.exitCode = reason.exitCode;
  const whole = record.cells.filter((cell) => cell.stopped !== "interrupted").length;
  const how =
    typeof flags.json === "string" ? "go on with --resume" : "with --json FILE, --resume would go on";
  if (flags.json !== true) context.stderr.write(`${reason.message}: ${plural(whole, "cell")} done; ${how}\n`);
}
