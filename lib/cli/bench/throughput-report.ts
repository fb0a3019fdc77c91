/** The report of `bench throughput`. */
import type { ThroughputRecord, ThroughputResult } from "../../bench/throughput-record.js";
import type { Charts } from "../../report/charts.js";
import type { Block, Chart, Page, Table } from "../../report/page.js";
import type { Summary } from "../../report/statistics.js";
import { milliseconds, plural } from "../output.js";
import { colors } from "./charts.js";
import { csvLine } from "./csv.js";
import { or, percent } from "./format.js";
import { environmentTable, machineLine } from "./report.js";

const rateText = (rate: number | null) => (rate === null ? "all at once" : `${rate}/s`);
const metrics = ["ttft", "tpot", "itl", "e2el"] as const;
const names = { ttft: "TTFT", tpot: "TPOT", itl: "ITL", e2el: "E2EL" } as const;

const time = (summary: Summary | null, pick: (summary: Summary) => number) =>
  or(summary, (one) => milliseconds(pick(one)));

function ratesTable(results: readonly ThroughputResult[]): Table {
  const limited = results.some(({ goodput }) => goodput);
  const header = ["model", "ranks", "rate", "requests/s", "tokens/s", "TTFT p50", "p99", "TPOT p50", "p99"];
  return {
    kind: "table",
    header: limited ? [...header, "goodput", "good"] : header,
    rows: results.map(({ run, ttft, tpot, goodput, ...result }) => [
      run.label,
      String(run.ranks),
      rateText(run.rate),
      run.failure === undefined ? result.requestsPerSecond.toFixed(2) : "failed",
      result.outputTokensPerSecond.toFixed(1),
      time(ttft, ({ median }) => median),
      time(ttft, ({ p99 }) => p99),
      time(tpot, ({ median }) => median),
      time(tpot, ({ p99 }) => p99),
      ...(limited
        ? [
            or(goodput, (good) => `${good.requestsPerSecond.toFixed(2)}/s`),
            or(goodput, (good) => percent(good.share)),
          ]
        : []),
    ]),
  };
}

function percentilesTable(results: readonly ThroughputResult[]): Table {
  return {
    kind: "table",
    header: ["model", "ranks", "rate", "time", "min", "mean", "std", "p50", "p90", "p95", "p99", "max"],
    rows: results.flatMap((result) =>
      metrics.flatMap((metric) => {
        const summary = result[metric];
        if (!summary) return [];
        const { min, mean, std, median, p90, p95, p99, max } = summary;
        return [
          [
            result.run.label,
            String(result.run.ranks),
            rateText(result.run.rate),
            names[metric],
            ...[min, mean, std, median, p90, p95, p99, max].map(milliseconds),
          ],
        ];
      }),
    ),
  };
}

function method({ settings }: ThroughputRecord): string[] {
  const { requests, arrival, context, outputTokens, maxBatchSize, link, hosts, goodput } = settings;
  const good = goodput
    ? [
        `Good requests: ${Object.entries(goodput)
          .map(([name, limit]) => `${name} at most ${limit} ms`)
          .join(", ")}.`,
      ]
    : [];
  return [
    `${plural(requests, "request")} of ${context} prompt tokens and ${outputTokens} output tokens each, ${arrival} arrival, at most ${plural(maxBatchSize, "sequence")} at once.`,
    "A request's clock starts when it was due. TTFT: to its first token in JavaScript, waiting included. TPOT: the rest of its time over its other tokens. " +
      "ITL: every gap between two tokens. E2EL: to its last token.",
    ...(hosts === null ? [] : [`Ranks are processes on hosts ${hosts}, which speak TCP.`]),
    ...(link === "none" ? [] : [`An emulated link of ${link} between threads of one machine.`]),
    ...good,
  ];
}

function charts(draw: Charts, results: readonly ThroughputResult[]): Chart[] {
  const served = results.filter(({ run }) => run.failure === undefined);
  if (served.length === 0) return [];
  const label = ({ run }: ThroughputResult) => `${run.label}, ${run.ranks}r, ${rateText(run.rate)}`;
  const color = ({ run }: ThroughputResult) => colors[run.config.architecture];
  const bars = served.map((result) => ({
    label: label(result),
    value: result.outputTokensPerSecond,
    color: color(result),
  }));
  const times = (metric: "ttft" | "tpot") =>
    served.flatMap((result) => {
      const summary = result[metric];
      if (!summary) return [];
      const { median, p99 } = summary;
      const interval = { low: median, estimate: median, high: p99 };
      return [{ label: label(result), value: median, interval, color: color(result) }];
    });
  const chart = (title: string, svg: string, caption: string): Chart => ({
    kind: "chart",
    title,
    svg,
    caption,
  });
  return [
    chart("Throughput", draw.bars(bars, "output tokens per second"), "Of all requests together."),
    chart(
      "Time to first token",
      draw.bars(times("ttft"), "milliseconds"),
      "Medians; the line reaches to the 99th percentile.",
    ),
    ...(times("tpot").length > 0
      ? [
          chart(
            "Time per output token",
            draw.bars(times("tpot"), "milliseconds"),
            "Medians; the line reaches to the 99th percentile.",
          ),
        ]
      : []),
  ];
}

function problems(results: readonly ThroughputResult[]): string[] {
  return results.flatMap(({ run }) => {
    const what = `${run.label}, ${plural(run.ranks, "rank")}, ${rateText(run.rate)}`;
    const failed = run.failure === undefined ? [] : [`${what} failed: ${run.failure}`];
    const refused =
      run.errors.length > 0
        ? [`${what}: ${plural(run.errors.length, "request")} failed, the first: ${run.errors[0]}`]
        : [];
    const late =
      run.latestMs > 20
        ? [`${what}: this process sent a request ${milliseconds(run.latestMs)} after it was due`]
        : [];
    return [...failed, ...refused, ...late];
  });
}

const list = (text: string, items: readonly string[]): Block[] =>
  items.length === 0
    ? []
    : [
        { kind: "heading", text },
        { kind: "list", items },
      ];

const title = "Serving a stream of requests, measured";

export function throughputSummary(record: ThroughputRecord, results: readonly ThroughputResult[]): Page {
  const unfinished = record.complete ? [] : ["Incomplete: the run was interrupted."];
  return {
    title,
    blocks: [
      ...[machineLine(record), ...unfinished].map((text) => ({ kind: "text" as const, text })),
      { kind: "heading", text: "Throughput" },
      ratesTable(results),
      ...list("Problems", problems(results)),
    ],
  };
}

export function throughputPage(
  record: ThroughputRecord,
  results: readonly ThroughputResult[],
  draw?: Charts,
): Page {
  const { blocks } = throughputSummary(record, results);
  return {
    title,
    blocks: [
      ...blocks,
      ...(draw ? charts(draw, results) : []),
      { kind: "heading", text: "Percentiles" },
      percentilesTable(results),
      ...list("Method", method(record)),
      { kind: "heading", text: "Machine and settings" },
      environmentTable(record),
    ],
  };
}

export function throughputCsv(results: readonly ThroughputResult[]): string {
  const statistics = ["min", "mean", "std", "median", "p90", "p95", "p99", "max"] as const;
  const header = [
    "comparison",
    "label",
    "model",
    "ranks",
    "dtype",
    "rate",
    "requests",
    "failed",
    "seconds",
  ].concat(
    [
      "requests_per_second",
      "output_tokens_per_second",
      "total_tokens_per_second",
      "good_requests_per_second",
    ],
    metrics.flatMap((metric) => statistics.map((name) => `${metric}_${name}_ms`)),
    ["failure"],
  );
  const lines = results.map(({ run, ...result }) =>
    csvLine([
      ...[run.comparison, run.label, run.model, run.ranks, run.dtype, run.rate ?? "inf"],
      ...[run.requests.length, run.errors.length, run.seconds],
      ...[result.requestsPerSecond, result.outputTokensPerSecond, result.totalTokensPerSecond],
      result.goodput?.requestsPerSecond,
      ...metrics.flatMap((metric) => statistics.map((name) => result[metric]?.[name])),
      run.failure,
    ]),
  );
  return csvLine(header) + lines.join("");
}
