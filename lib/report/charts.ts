/**
 * Charts as SVG text, drawn by Observable Plot when a report is made: nothing runs where it is read. Colours are CSS
 * variables, so that one chart serves light, dark and print (lib/report/html.ts defines them).
 */
import type { Markish, PlotOptions } from "@observablehq/plot";
import type { Interval } from "./statistics.js";

type Page = PlotOptions["document"];
type Plot = typeof import("@observablehq/plot");

export interface BarDatum {
  label: string;
  value: number;
  interval?: Interval;
  /** Drawn across the bar: a bound, for example. */
  tick?: number;
  /** Drawn as a ring: the same, run otherwise. */
  ring?: number;
  color: string;
}

export interface PartDatum {
  label: string;
  part: string;
  value: number;
  color: string;
}

export interface DotDatum extends Interval {
  /** A block of rows with a heading of its own. */
  group: string;
  label: string;
  color: string;
}

export interface Charts {
  /** Horizontal bars from 0, in the order given. */
  bars(data: readonly BarDatum[], axis: string): string;
  /** Horizontal bars made of parts. */
  stacked(data: readonly PartDatum[], axis: string): string;
  /** Estimates with their intervals, beside a line at 0 and perhaps others. Equal labels of a group share a row. */
  dots(data: readonly DotDatum[], axis: string, lines?: readonly number[]): string;
}

const rowHeight = 24;
const width = 380;
const marginTop = 6;
const marginBottom = 42;

class PlotCharts implements Charts {
  readonly #plot: Plot;
  readonly #document: Page;

  constructor(plot: Plot, document: Page) {
    this.#plot = plot;
    this.#document = document;
  }

  bars(data: readonly BarDatum[], axis: string): string {
    const { barX, ruleX, tickX, dot } = this.#plot;
    const ends = { y: "label", x1: (d: BarDatum) => d.interval?.low, x2: (d: BarDatum) => d.interval?.high };
    return this.#draw(
      data.map(({ label }) => label),
      axis,
      [
        barX(data, { x: "value", y: "label", fill: "color", insetTop: 3, insetBottom: 3 }),
        this.#plot.ruleY(
          data.filter((d) => d.interval),
          { ...ends, stroke: "var(--text)", strokeWidth: 1.5 },
        ),
        tickX(
          data.filter((d) => d.tick !== undefined),
          { x: "tick", y: "label", stroke: "var(--text)", strokeWidth: 2, strokeDasharray: "3,2" },
        ),
        dot(
          data.filter((d) => d.ring !== undefined),
          { x: "ring", y: "label", r: 4, stroke: "var(--text)", fill: "var(--page)" },
        ),
        ruleX([0], { stroke: "var(--text)" }),
      ],
    );
  }

  stacked(data: readonly PartDatum[], axis: string): string {
    const { barX, ruleX } = this.#plot;
    return this.#draw([...new Set(data.map(({ label }) => label))], axis, [
      barX(data, { x: "value", y: "label", fill: "color", insetTop: 3, insetBottom: 3, order: null }),
      ruleX([0], { stroke: "var(--text)" }),
    ]);
  }

  dots(data: readonly DotDatum[], axis: string, lines: readonly number[] = []): string {
    const { dot, ruleX, ruleY, text } = this.#plot;
    // Rows with the same label in several groups are several rows.
    const key = ({ group, label }: DotDatum) => `${group}\n${label}`;
    const groups = [...new Set(data.map(({ group }) => group))];
    const rows = groups.flatMap((group) => [
      `${group}\n`,
      ...new Set(data.filter((one) => one.group === group).map(key)),
    ]);
    const marks = [
      ruleX([0], { stroke: "var(--text)" }),
      ruleX(lines, { stroke: "var(--text)", strokeDasharray: "4,3" }),
      ruleY(data, { x1: "low", x2: "high", y: key, stroke: "color", strokeWidth: 3 }),
      dot(data, { x: "estimate", y: key, fill: "color", r: 5 }),
      text(groups, {
        y: (group: string) => `${group}\n`,
        text: (group: string) => group,
        frameAnchor: "left",
        textAnchor: "start",
        fontWeight: "bold",
      }),
    ];
    return this.#draw(rows, axis, marks, { width: 1120, tickFormat: (row: string) => row.split("\n")[1]! });
  }

  #draw(
    rows: readonly string[],
    axis: string,
    marks: Markish[],
    own: { width?: number; tickFormat?: (row: string) => string } = {},
  ): string {
    const longest = Math.max(...rows.map((row) => (own.tickFormat?.(row) ?? row).length));
    const options: PlotOptions = {
      document: this.#document,
      ariaLabel: axis,
      width: own.width ?? width,
      height: rows.length * rowHeight + marginTop + marginBottom,
      marginTop,
      marginLeft: Math.max(60, 12 + 7 * longest),
      marginRight: 24,
      marginBottom,
      style: { background: "transparent", color: "var(--text)", fontSize: "12px", overflow: "visible" },
      color: { type: "identity" },
      x: {
        label: axis,
        grid: true,
        nice: true,
        labelAnchor: "center",
        labelArrow: "none",
        tickSpacing: 70,
      },
      y: {
        domain: [...rows],
        label: null,
        tickSize: 0,
        ...(own.tickFormat && { tickFormat: own.tickFormat }),
      },
      marks,
    };
    return this.#plot.plot(options).outerHTML;
  }
}

/** Loads the library that draws: only reports with charts need it. */
export async function loadCharts(): Promise<Charts> {
  const [plot, { parseHTML }] = await Promise.all([import("@observablehq/plot"), import("linkedom")]);
  return new PlotCharts(plot, parseHTML("<html></html>").document as unknown as Page);
}
