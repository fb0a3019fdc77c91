/** The charts of `bench ttft` and `bench latency`. */
import type { Analysis, CellResult, Entry, Timed } from "../../bench/analysis.js";
import { cellKey } from "../../bench/document.js";
import type { Phase } from "../../bench/options.js";
import type { Architecture } from "../../model-config.js";
import type { Charts } from "../../report/charts.js";
import type { Chart } from "../../report/page.js";

export const colors: Record<Architecture, string> = {
  gpt: "var(--standard)",
  parallel: "var(--parallel)",
  ladder: "var(--ladder)",
  kraken: "var(--kraken)",
};

/** Kinds of ops, and what is left of the engine's time. */
const parts = [
  { name: "matrix products", color: "var(--part-1)", has: /^(attn|mlp)\.|^conjunction$/ },
  { name: "attention", color: "var(--part-2)", has: /^attention$/ },
  {
    name: "norms, joins, activations",
    color: "var(--part-3)",
    has: /^(norm|join|start|add|activation|convert)/,
  },
  { name: "embedding and logits", color: "var(--part-4)", has: /^(embed|head|gather)/ },
  { name: "waiting for other ranks", color: "var(--part-5)", has: /^wait$/ },
  { name: "everything else", color: "var(--part-6)", has: undefined },
] as const;

/** Milliseconds of each part; what no kind of op accounts for is the rest. */
export function timeByPart({ perOpMs, engine }: Pick<Timed, "perOpMs" | "engine">): number[] {
  const known = parts
    .slice(0, -1)
    .map(({ has }) => Object.entries(perOpMs).reduce((sum, [op, ms]) => (has?.test(op) ? sum + ms : sum), 0));
  return [...known, Math.max(0, engine.median - known.reduce((sum, ms) => sum + ms, 0))];
}

const timed = (entries: readonly Entry[]) =>
  entries.flatMap(({ main, ...entry }) => (main ? [{ ...entry, main }] : []));

function timesChart(charts: Charts, { entries }: CellResult, phase: Phase): Chart {
  const data = timed(entries).map(({ label, architecture, main, bound, oneRank }) => ({
    label,
    value: main.time.median,
    interval: main.medianInterval,
    ...(bound && { tick: bound.time.median }),
    ...(oneRank && { ring: oneRank.time.median }),
    color: colors[architecture],
  }));
  const title = phase === "prefill" ? "Time to first token" : "Time from token to token";
  return {
    kind: "chart",
    title,
    svg: charts.bars(data, "milliseconds"),
    caption:
      "Medians with 95 % intervals. Dashed: without collectives. Ring: on one rank with all the threads.",
  };
}

function partsChart(charts: Charts, { entries }: CellResult): Chart {
  const data = timed(entries).flatMap(({ label, config, main }) =>
    timeByPart(main).map((ms, i) => ({
      label,
      part: parts[i]!.name,
      value: (1000 * ms) / config.layers,
      color: parts[i]!.color,
    })),
  );
  return {
    kind: "chart",
    title: "Where the time went",
    svg: charts.stacked(data, "microseconds per layer"),
    caption: "Medians over the rounds, mean of the ranks, divided by the number of layers.",
    legend: parts.map(({ name, color }) => ({ label: name, color })),
  };
}

function communicationChart(charts: Charts, { entries }: CellResult): Chart {
  const hidden = "var(--part-6)";
  const exposed = "var(--part-5)";
  const data = timed(entries).flatMap(({ label, main }) => {
    if (!main.perLayer) return [];
    const { collectiveMs, exposedMs } = main.perLayer;
    return [
      { label, part: "waited for", value: 1000 * exposedMs, color: exposed },
      { label, part: "hidden", value: 1000 * Math.max(0, collectiveMs - exposedMs), color: hidden },
    ];
  });
  return {
    kind: "chart",
    title: "Communication",
    svg: charts.stacked(data, "microseconds per layer"),
    caption: "Collectives from start to arrival. Waiting for a rank that is late counts as waiting.",
    legend: [
      { label: "waited for", color: exposed },
      { label: "hidden behind other work", color: hidden },
    ],
  };
}

/** One for each cell, and one for all speed-ups. */
export function cellCharts(charts: Charts, result: CellResult, phase: Phase): Chart[] {
  if (timed(result.entries).length === 0) return [];
  const several = result.cell.ranks > 1 ? [communicationChart(charts, result)] : [];
  return [timesChart(charts, result, phase), partsChart(charts, result), ...several];
}

export function speedUpChart(charts: Charts, { results }: Analysis): Chart[] {
  const percent = (ratio: number) => 100 * (ratio - 1);
  const data = results.flatMap(({ cell, entries }) =>
    timed(entries).flatMap(({ label, architecture, main }) => {
      if (!main.speedUp) return [];
      const { low, estimate, high } = main.speedUp;
      return [
        {
          group: cellKey(cell),
          label,
          low: percent(low),
          estimate: percent(estimate),
          high: percent(high),
          color: colors[architecture],
        },
      ];
    }),
  );
  if (data.length === 0) return [];
  const baselines = [...new Set(results.map(({ baseline }) => baseline))].join(", ");
  return [
    {
      kind: "chart",
      title: `Speed-up over ${baselines}`,
      svg: charts.dots(data, "its time over this one's, minus 1, in percent (95 % intervals)"),
      caption: "Right of the line: faster.",
      wide: true,
    },
  ];
}
