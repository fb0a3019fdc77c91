/** kraken bench throughput: a stream of requests, served by one model after another. */
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import type { Arrival } from "../../bench/arrivals.js";
import { pageHtml } from "../../report/html.js";
import { pageMarkdown, pageText } from "../../report/page.js";
import { benchEnvironment } from "../bench/environment.js";
import { addHostFlags, addModelFlags, type GridFlags, listOf } from "../bench/grid-flags.js";
import { addOutputFlags, checkOutputs, type Rendered, writeOutputs } from "../bench/outputs.js";
import { throughputCsv, throughputPage, throughputSummary } from "../bench/throughput-report.js";
import type { Context } from "../context.js";
import { BrokenPipe, Interrupted, UsageError } from "../failure.js";
import { addFlag, choice, integer, number } from "../flags.js";
import { plural } from "../output.js";
import { ProgressBar } from "../progress.js";

interface Flags extends Omit<GridFlags, "batch"> {
  requests?: number;
  rate?: (number | null)[];
  arrival?: Arrival;
  maxBatchSize?: number;
  goodput?: string;
}

const help = `
Requests come whether or not earlier ones are done; a request's clock starts when it was due. Every model gets the same
prompts at the same moments.

Examples:
  kraken bench throughput --models engines/mine --rate 2,4,8 --goodput ttft:200,tpot:50
  kraken bench throughput --models paper:125m --architectures standard,kraken --requests 32
`;

/** Requests a second; "inf" as vLLM has it. */
function rate(value: string): number | null {
  if (value === "inf") return null;
  const perSecond = number(value, undefined) as number;
  if (perSecond <= 0) throw new InvalidArgumentError("It must be over 0, or inf.");
  return perSecond;
}

export function addBenchThroughput(bench: Command, context: Context): void {
  const command = bench
    .command("throughput")
    .description("tokens per second and latencies under a stream of requests")
    .addHelpText("after", help.trimEnd());
  addModelFlags(command);
  const flag = (flags: string, text: string, settings = {}) =>
    addFlag(command, flags, text, { env: false, ...settings });
  command.optionsGroup("Requests:");
  flag("--requests <n>", "how many (default: 64)", { parse: integer });
  flag("--rate <list>", "requests a second; inf: all at once (default: inf)", { parse: listOf(rate) });
  flag("--arrival <kind>", "poisson or fixed (default: poisson)", { parse: choice(["poisson", "fixed"]) });
  flag("--output-tokens <n>", "of each (default: 32)", { parse: integer });
  flag("--max-batch-size <n>", "sequences that run at once (default: 8)", { parse: integer });
  flag("--goodput <limits>", "count requests that meet them: ttft:200,tpot:50,e2el:2000 (milliseconds)");
  addHostFlags(command);
  addOutputFlags(command);
  command.helpOption("-h, --help", "show help");
  command.action((flags: Flags) => throughput(flags, context));
}

function single(flags: Flags): number | undefined {
  if (flags.context && flags.context.length > 1) throw new UsageError("bench throughput takes one --context");
  return flags.context?.[0];
}

async function throughput(flags: Flags, context: Context): Promise<void> {
  const { signal } = context;
  const { json, csv: _, markdown, html, rate: rates, context: __, ...options } = flags;
  const prompt = single(flags);
  const library = await context.library.bench();
  await checkOutputs(flags);
  const plan = await library.planThroughput({ ...options, rates, context: prompt });
  const environment = await benchEnvironment(context);
  const bar = new ProgressBar(context.stderr, json !== true);
  try {
    const record = await library.runThroughput(plan, {
      environment,
      signal,
      onProgress: ({ what, done, runs, finished }) => {
        const state =
          finished === undefined
            ? "checking and loading"
            : `${finished} of ${plan.settings.requests} requests`;
        bar.show(`run ${Math.min(done + 1, runs)} of ${runs}, ${state}: ${what}`);
      },
    });
    bar.clear();
    if (signal.reason instanceof BrokenPipe) throw signal.reason;
    const results = record.runs.map((run) => library.throughputResult(run, record.settings.goodput));
    const rendered: Rendered = {
      json: () => ({ ...record, results: results.map(({ run: _, ...result }) => result) }),
      csv: () => throughputCsv(results),
      markdown: () => pageMarkdown(throughputPage(record, results)),
      html: async () => {
        const { loadCharts } = await context.library.charts();
        return pageHtml(throughputPage(record, results, await loadCharts()));
      },
      text: () => pageText(throughputSummary(record, results), context.stdout.columns),
    };
    await writeOutputs(flags, rendered, context);
    if (signal.reason instanceof Interrupted) {
      context.exitCode = signal.reason.exitCode;
      if (json !== true)
        context.stderr.write(`${signal.reason.message}: ${plural(record.runs.length, "run")} done\n`);
    }
  } finally {
    bar.clear();
  }
}
