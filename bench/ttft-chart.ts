/**
 * Several runs of `kraken bench ttft`, over different links, as one picture for documents:
 *
 *     npm run -s bench:ttft-chart -- none.json 10gbit.json 1gbit.json > docs/ttft.svg
 *
 * A panel for each link and context, all of a context on one scale. A file of its own colours: it stands on white and on
 * black pages alike.
 */
import { parseArgs } from "node:util";
import { barX, plot as drawPlot, type PlotOptions, ruleX, text, tickX } from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { CellRecord } from "../lib/bench/document.js";
import { readBench } from "../lib/bench/resume.js";
import { median } from "../lib/report/statistics.js";

interface Bar {
  link: string;
  context: string;
  label: string;
  ms: number;
  /** Median with the collectives left out. */
  bound: number | undefined;
}

const ink = "#808890";
const colours: Record<string, string> = {
  standard: "#8b96a3",
  parallel: "#e06c1f",
  ladder: "#1fa67d",
  Kraken: "#2f8fd0",
};

/** "10Gbit,20us" as people write it. */
function linkName(link: string): string {
  if (link === "none") return "between threads";
  return link
    .replace(/bit\b/, "bit/s")
    .replace(/us\b/, "µs")
    .replace(/(\d)([a-zµ])/gi, "$1 $2")
    .replace(",", ", ");
}

function barsOf(cell: CellRecord): Bar[] {
  return cell.variants.flatMap(({ label, role, prefill }) => {
    if (role !== "main" || !prefill) return []; // failed ones have no times
    const bound = cell.variants.find((one) => one.label === label && one.role === "bound")?.prefill;
    return {
      link: linkName(cell.link),
      context: `${cell.context} tokens`,
      label,
      ms: median(prefill.samplesMs),
      bound: bound && median(bound.samplesMs),
    };
  });
}

/** Each context has a scale of its own, so it is a plot of its own; links are its facets. */
function panelRow(bars: readonly Bar[], context: string, top: boolean): string {
  const data = bars.filter((bar) => bar.context === context);
  const { document } = parseHTML("<html></html>");
  const drawn = drawPlot({
    document: document as unknown as PlotOptions["document"],
    width: 960,
    height: top ? 176 : 156,
    marginLeft: 70,
    marginRight: 44,
    marginTop: top ? 36 : 16,
    marginBottom: 36,
    style: { background: "transparent", color: ink, fontSize: "12px" },
    color: { type: "identity" },
    fx: { domain: [...new Set(bars.map(({ link }) => link))], label: null, axis: top ? "top" : null },
    x: { label: `ms to the first token, ${context}`, labelAnchor: "center", labelArrow: "none", ticks: 4 },
    y: { domain: Object.keys(colours), label: null, tickSize: 0 },
    marks: [
      barX(data, { fx: "link", x: "ms", y: "label", fill: (bar: Bar) => colours[bar.label]!, inset: 2 }),
      tickX(data, {
        fx: "link",
        x: "bound",
        y: "label",
        stroke: ink,
        strokeWidth: 2,
        strokeDasharray: "3,2",
      }),
      text(data, {
        fx: "link",
        x: "ms",
        y: "label",
        text: (bar: Bar) => bar.ms.toFixed(bar.ms < 100 ? 1 : 0),
        textAnchor: "start",
        dx: 5,
        fill: ink,
      }),
      ruleX([0], { stroke: ink }),
    ],
  });
  return drawn.outerHTML;
}

/** The rows one below the other. */
function stack(rows: readonly string[]): string {
  let y = 0;
  const placed = rows.map((svg) => {
    const height = Number(/height="(\d+)"/.exec(svg)![1]);
    const at = y;
    y += height;
    return svg.replace("<svg ", `<svg y="${at}" `);
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="960" height="${y}" viewBox="0 0 960 ${y}" ` +
    `font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n${placed.join("\n")}\n</svg>\n`
  );
}

const { positionals } = parseArgs({ allowPositionals: true });
const records = await Promise.all(positionals.map((path) => readBench(path)));
const bars = records.flatMap(({ cells }) => cells.flatMap(barsOf));
if (bars.length === 0) throw new Error("name at least one file that `kraken bench ttft --json` wrote");
const contexts = [...new Set(bars.map(({ context }) => context))];
process.stdout.write(stack(contexts.map((context, i) => panelRow(bars, context, i === 0))));
