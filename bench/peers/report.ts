/** The comparison as people read it: on a terminal and in docs/performance.md. */

import { bytes } from "../../lib/cli/output.js";
import { columns, markdownTable } from "../../lib/report/columns.js";
import type { Interval } from "../../lib/report/statistics.js";
import { type Model, models } from "./options.js";
import { baseline, figure, headlines, type PeerResult, type PeersReport } from "./results.js";

const fixed = (value: number) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
const interval = ({ estimate, low, high }: Interval) =>
  `${estimate.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`;

/** "ttft@128" → "TTFT at 128". */
export function metricName(metric: string): string {
  const [phase, context] = metric.split("@");
  return phase === "ttft" ? `TTFT at ${context}` : `decode at ${context}`;
}

export const peerName = ({ runtime, dtype }: PeerResult) => `${runtime} ${dtype}`;

function status({ check, reason, status }: PeerResult): string {
  if (status === "not measured") return `not measured: ${reason}`;
  if (!check) return "";
  const error = Math.max(check.prefill, check.decode).toExponential(1);
  return status === "failed" ? `failed: ${error}, at most ${check.tolerance}` : error;
}

const modelsIn = ({ results }: PeersReport): Model[] => [...new Set(results.map(({ model }) => model))];

function header(report: PeersReport): string[] {
  return [
    "",
    ...report.metrics.flatMap((metric) => [`${metricName(metric)}, ms`, "× ours (95 %)"]),
    "logits' error",
  ];
}

function row(report: PeersReport, result: PeerResult): string[] {
  const cells = report.metrics.flatMap((metric) => {
    if (result.status !== "measured" || !result.samplesMs[metric]) return ["–", ""];
    const { medianMs, ratio } = figure(report, result, metric);
    const itself = result === baseline(report, result.model);
    return [fixed(medianMs), itself ? "1" : ratio ? interval(ratio) : "–"];
  });
  return [peerName(result), ...cells, status(result)];
}

const rows = (report: PeersReport, model: Model) =>
  report.results.filter((result) => result.model === model).map((result) => row(report, result));

/** One sentence for each metric. */
function headlineLines(report: PeersReport, model: Model): string[] {
  return headlines(report, model).map(({ metric, peer, ratio }) => {
    const times = ratio ? interval(ratio) : "–";
    const ours = peer.dtype === "int8" ? "ours in int8" : "ours";
    return `${metricName(metric)}: ${ours} is ${times} times as fast as the fastest peer, ${peerName(peer)}.`;
  });
}

function environmentText({ environment: e, rounds, threads, results }: PeersReport): string {
  const versions = new Map(results.flatMap((result) => Object.entries(result.versions)));
  const libraries = [...versions].map(([name, version]) => `${name} ${version}`).join(", ");
  const clock = e.clockMHz > 0 ? `${e.clockMHz} MHz, ` : ""; // virtual machines may not tell
  return (
    `${e.date.slice(0, 10)}, commit ${e.commit}. ${e.cpu}, ${e.cores} cores, ${clock}${bytes(e.memoryBytes)}, ` +
    `${e.system}, Node ${e.node}; ${libraries}. Medians of ${rounds} rounds in which all take turns; ` +
    `${threads} threads each (ours: ${threads} ranks of one), batch 1.`
  );
}

export function terminalText(report: PeersReport): string {
  const tables = modelsIn(report).map((model) => {
    const text = columns(header(report), rows(report, model), 1);
    const headline = headlineLines(report, model).map((line) => `${line}\n`);
    return `${models[model]}\n${text}${headline.join("")}`;
  });
  return `${tables.join("\n")}\n${environmentText(report)}\n`;
}

/** A section of docs/performance.md. `chart`: the path of its picture, as the page names it. */
export function markdownText(report: PeersReport, chart?: string): string {
  const tables = modelsIn(report).map((model) => {
    const table = markdownTable(header(report), rows(report, model));
    const headline = headlineLines(report, model).map((line) => `- ${line}\n`);
    return `### ${models[model]}\n\n${table}\n${headline.join("")}`;
  });
  return [
    "## Beside other runtimes\n",
    `${environmentText(report)}\n`,
    "Same weights, same prompts, the same minutes. TTFT runs from token ids to the first token in the caller's own " +
      "language; decode is per token, the mean of 16, greedy. A ratio above 1 is slower than ours (in 8 bits: " +
      "than ours in 8 bits); in brackets its 95 % bootstrap interval. The error is the largest of a logit, relative to the largest, against ours in " +
      "float32.\n",
    ...(chart ? [`![Milliseconds of every runtime, a panel for each measurement](${chart})\n`] : []),
    ...tables,
    `    ${report.command}\n`,
  ].join("\n");
}
