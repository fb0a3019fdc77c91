/** kraken bench compare: what changed between two runs, and what is noise. */
import type { Command } from "commander";
import type { Change, Comparison, Verdict } from "../../bench/compare.js";
import { pageHtml } from "../../report/html.js";
import { type Block, type Page, pageMarkdown, pageText } from "../../report/page.js";
import { csvLine } from "../bench/csv.js";
import { gain, interval, percent } from "../bench/format.js";
import { share } from "../bench/grid-flags.js";
import { addOutputFlags, checkOutputs, type OutputFlags, writeOutputs } from "../bench/outputs.js";
import type { Context } from "../context.js";
import { addFlag } from "../flags.js";
import { milliseconds } from "../output.js";

interface Flags extends OutputFlags {
  threshold?: number;
}

const help = `
Compares what both files have, by medians. A change counts if its whole interval (95 % for all of them together) lies
beyond the threshold: two runs of the same thing differ by a few per cent on most machines.

Example:
  kraken bench ttft --json before.json
  kraken bench ttft --json after.json
  kraken bench compare before.json after.json
`;

export function addBenchCompare(bench: Command, context: Context): void {
  const command = bench
    .command("compare")
    .description("what changed between two runs, and whether it is noise")
    .argument("<before>", "what --json wrote")
    .argument("<after>", "what --json wrote later")
    .addHelpText("after", help.trimEnd());
  addFlag(command, "--threshold <share>", "smaller changes are noise (default: 5%)", {
    parse: share,
    env: false,
  });
  addOutputFlags(command);
  command.helpOption("-h, --help", "show help");
  command.action((before: string, after: string, flags: Flags) => compare(before, after, flags, context));
}

async function compare(before: string, after: string, flags: Flags, context: Context): Promise<void> {
  const library = await context.library.bench();
  await checkOutputs(flags);
  const [first, second] = [await library.readBench(before), await library.readBench(after)];
  const comparison = library.compareBench(first, second, { threshold: flags.threshold });
  const page = pageOf(comparison, before, after);
  const rendered = {
    json: () => comparison,
    csv: () => csvOf(comparison),
    markdown: () => pageMarkdown(page),
    html: () => pageHtml(page),
    text: () => pageText(page, context.stdout.columns),
  };
  await writeOutputs(flags, rendered, context);
}

const roles = { main: "", bound: " (no comm.)", "one-rank": " (one rank)" };
const nameOf = ({ label, role, of }: Change) => `${label}${roles[role]}${of === "time" ? "" : ", speed-up"}`;
const shownValue = ({ of }: Change, value: number) => (of === "time" ? milliseconds(value) : gain(value));

function summary({ changes, threshold, drift }: Comparison): string[] {
  const changed = (of: Change["of"]) => changes.filter((one) => one.of === of && one.verdict !== "noise");
  const count = (of: Change["of"], verdict: Verdict) =>
    changed(of).filter((one) => one.verdict === verdict).length;
  const counts = (of: Change["of"]) => `${count(of, "slower")} slower, ${count(of, "faster")} faster`;
  const together = `All times together moved by ${gain(drift)} (geometric mean).`;
  if (changed("speed-up").length > 0) {
    return [`Changed: speed-ups ${counts("speed-up")}; times ${counts("time")}.`, together];
  }
  if (changed("time").length > 0) {
    const alike =
      "No speed-up changed: the machine, or something that all models share, rather than one of them.";
    return [`Times changed: ${counts("time")}. ${alike}`, together];
  }
  return [`Noise: no interval lies beyond ${percent(threshold)}.`, together];
}

function pageOf(comparison: Comparison, before: string, after: string): Page {
  const { changes, onlyBefore, onlyAfter, differences } = comparison;
  const cells = [...new Set(changes.map(({ cell }) => cell))];
  const tables = cells.flatMap((cell): Block[] => [
    { kind: "heading", text: cell },
    {
      kind: "table",
      header: ["time", "before", "after", "change", "interval", "verdict"],
      rows: changes
        .filter((change) => change.cell === cell)
        .map((change) => [
          nameOf(change),
          shownValue(change, change.before),
          shownValue(change, change.after),
          gain(change.ratio.estimate),
          interval(change.ratio),
          change.verdict,
        ]),
      words: 1,
    },
  ]);
  const listed = (text: string, items: readonly string[]): Block[] =>
    items.length > 0
      ? [
          { kind: "heading", text },
          { kind: "list", items },
        ]
      : [];
  return {
    title: `${before} compared with ${after}`,
    blocks: [
      ...summary(comparison).map((text) => ({ kind: "text" as const, text })),
      ...tables,
      ...listed("Other circumstances", differences),
      ...listed(`Only in ${before}`, onlyBefore),
      ...listed(`Only in ${after}`, onlyAfter),
    ],
  };
}

function csvOf({ changes }: Comparison): string {
  const header = [
    "cell",
    "label",
    "role",
    "of",
    "before",
    "after",
    "ratio",
    "ratio_low",
    "ratio_high",
    "verdict",
  ];
  const lines = changes.map(({ cell, label, role, of, before, after, ratio, verdict }) =>
    csvLine([cell, label, role, of, before, after, ratio.estimate, ratio.low, ratio.high, verdict]),
  );
  return csvLine(header) + lines.join("");
}
