/** The report of `bench ttft` and `bench latency`: what a terminal, Markdown and HTML show. */
import type { Analysis, CellResult, Entry, Means, Timed } from "../../bench/analysis.js";
import { type BenchRecord, cellKey, type Environment, type Stop } from "../../bench/document.js";
import { findings } from "../../bench/findings.js";
import type { Phase, Settings } from "../../bench/options.js";
import type { Charts } from "../../report/charts.js";
import type { Block, Page, Table } from "../../report/page.js";
import { count, milliseconds, plural } from "../output.js";
import { cellCharts, speedUpChart } from "./charts.js";
import { gain, interval, missing, or, percent, shortTime } from "./format.js";

const titles: Record<Phase, string> = {
  prefill: "Time to first token, measured",
  decode: "Time from one token to the next, measured",
};

type Column = readonly [name: string, cell: (entry: Entry) => string, brief?: true];

const time =
  (pick: (timed: Timed) => number) =>
  ({ main }: Entry): string =>
    or(main, (timed) => milliseconds(pick(timed)));

function columnsOf(settings: Settings, phase: Phase, ranks: number): Column[] {
  const several: Column[] = [
    ["no comm.", ({ bound }) => or(bound, (timed) => milliseconds(timed.time.median)), true],
    ["of bound", ({ shareOfBound }) => or(shareOfBound, percent), true],
    ["all-reduce/layer", ({ main }) => or(main?.perLayer, (layer) => shortTime(layer.collectiveMs))],
    ["waited/layer", ({ main }) => or(main?.perLayer, (layer) => shortTime(layer.exposedMs)), true],
    ["one rank", ({ oneRank }) => or(oneRank, (timed) => milliseconds(timed.time.median)), true],
  ];
  const interToken: Column = [
    "next token",
    ({ main }) => or(main?.interToken, (summary) => milliseconds(summary.median)),
    true,
  ];
  return [
    ["model", ({ label }) => label, true],
    ["median", time((timed) => timed.time.median), true],
    ["mean", time((timed) => timed.time.mean)],
    ["std", time((timed) => timed.time.std)],
    ["min", time((timed) => timed.time.min)],
    ["p90", time((timed) => timed.time.p90)],
    ["p95", time((timed) => timed.time.p95), true],
    ["p99", time((timed) => timed.time.p99)],
    ["engine", time((timed) => timed.engine.median)],
    ["speed-up", ({ main }) => or(main?.speedUp, (speedUp) => gain(speedUp.estimate)), true],
    ["95 % interval", ({ main }) => or(main?.speedUp, interval), true],
    ...(ranks > 1 ? several : []),
    ...(phase === "prefill" && settings.outputTokens > 1 ? [interToken] : []),
    ["cold", time((timed) => timed.coldMs)],
  ];
}

function cellTable(result: CellResult, settings: Settings, phase: Phase): Table {
  const columns = columnsOf(settings, phase, result.cell.ranks);
  return {
    kind: "table",
    header: columns.map(([name]) => name),
    rows: result.entries.map((entry) => columns.map(([, cell]) => cell(entry))),
    brief: columns.flatMap(([, , brief], i) => (brief ? i : [])),
  };
}

const endings: Record<Stop, (settings: Settings) => string> = {
  interval: ({ interval }) => `every interval is narrower than ${percent(interval)}`,
  repeats: ({ maxRepeat }) => `the limit of ${maxRepeat} is reached`,
  time: ({ maxSeconds }) => `the limit of ${maxSeconds} s is reached`,
  interrupted: () => "interrupted",
  failed: () => "every variant failed",
};

function cellNote({ cell }: CellResult, settings: Settings): string {
  const widest = cell.widestInterval === null ? "" : `; widest 95 % interval ${percent(cell.widestInterval)}`;
  return `${plural(cell.rounds, "round")} in ${cell.seconds.toFixed(1)} s, ended as ${endings[cell.stopped](settings)}${widest}.`;
}

function meansTable(means: readonly Means[]): Block[] {
  const labels = [...new Set(means.flatMap(({ speedUps }) => Object.keys(speedUps)))];
  if (labels.length === 0) return [];
  const value = (ratio: number | undefined) => or(ratio, gain);
  const rows = means.map(({ ranks, cells, speedUps, bounds }) => [
    ranks === undefined ? "all" : String(ranks),
    String(cells),
    ...labels.flatMap((label) => [value(speedUps[label]), value(bounds[label])]),
  ]);
  const header = ["ranks", "cells", ...labels.flatMap((label) => [label, "no comm."])];
  return [
    { kind: "heading", text: "Geometric means of the speed-ups" },
    { kind: "table", header, rows },
  ];
}

/** Each model once for each shape it was given. */
function modelList(results: readonly CellResult[]): string[] {
  const lines = results.flatMap(({ entries }) =>
    entries.map(({ label, model, parameters, config }) => {
      const name = model === label ? label : `${label}: ${model}`;
      return `${name}; ${plural(config.layers, "layer")}, ${count(parameters)} parameters`;
    }),
  );
  return [...new Set(lines)];
}

function method(record: BenchRecord): string[] {
  const { settings, phase } = record;
  const what =
    phase === "prefill"
      ? "A time runs from the call of generate() to the first token in JavaScript; of a batch, to the last sequence's. " +
        "engine: from the start of the first step to the sampled token."
      : "A time is that from one token to the next in JavaScript while all sequences decode. engine: a step.";
  const link = settings.hosts
    ? `Ranks are processes on hosts ${settings.hosts}, ` +
      (settings.backend === "cpu"
        ? "which speak TCP; waited and all-reduce are rank 0's."
        : "a GPU each; what they wait for each other there is not in waited and all-reduce.")
    : settings.link === "none"
      ? "Ranks are threads of one machine; no link is emulated."
      : `An emulated link: what a rank sends arrives ${settings.link} later (bandwidth, latency), between threads of one machine. No network was involved.`;
  return [
    what,
    "Speed-up: the baseline's median over this one's, minus 1. no comm.: the same model with its collectives left out; " +
      "of bound: that time over the measured one. all-reduce, waited: of a layer, from start to arrival, and the part nothing hid. " +
      "one rank: one rank with all the threads. cold: the first of all, which does not count.",
    link,
    `Models took turns, in another random order each round, after ${plural(settings.warmup + 1, "round")} that don't count. ` +
      "Before that, each one's logits at small depth were compared with a float64 reference.",
  ];
}

export function machineLine({
  environment,
  startedAt,
}: Pick<BenchRecord, "environment" | "startedAt">): string {
  const { cpu, version, commit } = environment;
  const built = commit === null ? version : `${version} (commit ${commit.slice(0, 12)})`;
  return `${cpu.model}, ${plural(cpu.usable, "core")}; kraken-engine ${built}; ${startedAt}`;
}

/** Facts about the machine and the settings, for who wants to repeat it. */
export function environmentTable({
  environment,
  settings,
}: {
  environment: Environment;
  settings: object;
}): Table {
  const { backends: _, addon, environment: variables, ...facts } = environment;
  const shown = (value: unknown): string => {
    if (value === null) return missing;
    if (Array.isArray(value)) return value.map(shown).join(" ");
    if (typeof value !== "object") return String(value);
    return Object.entries(value)
      .map(([key, part]) => `${key} ${shown(part)}`)
      .join(", ");
  };
  const rows = Object.entries({ ...facts, variables, settings }).map(([key, value]) => [key, shown(value)]);
  return { kind: "table", header: ["fact", "value"], rows, words: 1 };
}

function cellBlocks(record: BenchRecord, result: CellResult, charts?: Charts): Block[] {
  const { phase, settings } = record;
  return [
    { kind: "heading", text: cellKey(result.cell) },
    ...(charts ? cellCharts(charts, result, phase) : []),
    cellTable(result, settings, phase),
    { kind: "text", text: cellNote(result, settings) },
  ];
}

const section = (text: string, items: readonly string[]): Block[] =>
  items.length === 0
    ? []
    : [
        { kind: "heading", text },
        { kind: "list", items },
      ];

function about(record: BenchRecord): Block[] {
  const unfinished = "Incomplete: the run was interrupted. Go on with --resume.";
  return [machineLine(record), ...(record.complete ? [] : [unfinished])].map((text) => ({
    kind: "text",
    text,
  }));
}

/** What a terminal shows: what was found comes last, where the eye is. */
export function benchSummary(record: BenchRecord, analysis: Analysis): Page {
  return {
    title: titles[record.phase],
    blocks: [
      ...about(record),
      ...analysis.results.flatMap((result) => cellBlocks(record, result)),
      ...meansTable(analysis.means),
      ...section("Findings", findings(analysis)),
    ],
  };
}

/** The whole report. @param charts draws what only HTML shows */
export function benchPage(record: BenchRecord, analysis: Analysis, charts?: Charts): Page {
  return {
    title: titles[record.phase],
    blocks: [
      ...about(record),
      ...(charts ? speedUpChart(charts, analysis) : []),
      ...section("Findings", findings(analysis)),
      ...meansTable(analysis.means),
      ...analysis.results.flatMap((result) => cellBlocks(record, result, charts)),
      ...section("Models", modelList(analysis.results)),
      ...section("Method", method(record)),
      { kind: "heading", text: "Machine and settings" },
      environmentTable(record),
    ],
  };
}
