/** What `kraken plan` prints, three times: for a terminal, as Markdown and as JSON. */
import type { BreakEven, Calibration, Cell, Design, Grid, GridOptions, Hardware } from "../plan/index.js";
import { columns, markdownTable, type Row } from "../report/columns.js";
import type { Block, Page } from "../report/page.js";
import { bytes, milliseconds, modelLine, plural, whole } from "./output.js";

export interface PlanPage {
  text: string;
  markdown: string;
  json: unknown;
  html: Page;
}

interface Section {
  text: string;
  markdown: string;
  json: object;
  blocks: Block[];
}

const percent = (share: number): string => `${(100 * share).toFixed(1).replace(/^-0\.0$/, "0.0")} %`;
const decimal = (value: number, units: readonly string[]): string => {
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(value) / 3)));
  return `${Number((value / 1000 ** step).toPrecision(4))} ${units[step]}`;
};
const rate = (value: number) => decimal(value, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"]);
const duration = (seconds: number) => decimal(seconds * 1e9, ["ns", "us", "ms", "s"]);

/** Everything the numbers rest on, said with the numbers. */
export function assumptions(options: GridOptions): string[] {
  const { hardware, efficiencies = { flop: 1, link: 1, hbm: 1 }, batch = 1, dtypeBytes = 2 } = options;
  const { flop, link, hbm } = efficiencies;
  const shares = [flop, link, hbm].every((share) => share === 1)
    ? "peak rates, so these are ceilings"
    : `shares of the peak rates reached: flop ${flop.toPrecision(3)}, link ${link.toPrecision(3)}, memory ${hbm.toPrecision(3)}`;
  const rows = options.conjunction === "last" ? "each sequence's last token" : "every token of the prompt";
  return [
    `each device: ${decimal(hardware.flopsPerSecond, ["", "k", "M", "G", "T", "P"])}FLOP/s dense, memory ${rate(hardware.memoryBytesPerSecond)}; ${shares}`,
    `link: ${hardware.link.name}, ${rate(hardware.link.bytesPerSecond)} in each direction of each device; an all-reduce costs ` +
      `${duration(hardware.link.latencySeconds)} (assumed unless measured) and sends 2(R-1)/R of its message`,
    `batch ${batch}, ${dtypeBytes} bytes an element`,
    `Kraken has ${options.ways === undefined ? "one way a rank" : plural(options.ways, "way")}, and the width that makes its parameters equal (V·d + 8·L·N·d² = V·D + 12·L·D²), rounded to ${plural(options.roundTo ?? 64, "column")}`,
    ...shapesOf(options),
    `Kraken's last collective carries ${rows}, and nothing hides it`,
    `norms, kernel launches, sampling${options.logitsHead ? "" : ", the logits head"} and contention between overlapped kernels cost nothing`,
  ];
}

function shapesOf({ shapes = [] }: GridOptions): string[] {
  const known = shapes.flatMap(({ name, layers, hiddenSize, source }) =>
    source ? [`${name} ${layers} x ${hiddenSize} (${source})`] : [],
  );
  const quartered = "; Kraken's authors ran 65b and 175b with a quarter of the layers, here all count";
  const noted = shapes.some(({ name }) => ["65b", "175b"].includes(name)) ? quartered : "";
  return known.length > 0 ? [`standard shapes, layers x width: ${known.join(", ")}${noted}`] : [];
}

function page(title: string, sections: readonly (Section | undefined)[], about: readonly string[]): PlanPage {
  const present = sections.filter((section) => section !== undefined);
  return {
    text:
      `${title}\n\n${present.map(({ text }) => text).join("\n")}` +
      (about.length > 0 ? `\nAssumptions:\n${about.map((line) => `  ${line}\n`).join("")}` : ""),
    markdown:
      `**${title}**\n\n${present.map(({ markdown }) => markdown).join("\n")}` +
      (about.length > 0 ? `\nAssumptions:\n\n${about.map((line) => `- ${line}\n`).join("")}` : ""),
    html: {
      title,
      blocks: [
        ...present.flatMap(({ blocks }) => blocks),
        ...(about.length > 0
          ? [
              { kind: "heading" as const, text: "Assumptions" },
              { kind: "list" as const, items: about },
            ]
          : []),
      ],
    },
    json: Object.assign(
      {},
      ...present.map(({ json }) => json),
      about.length > 0 ? { assumptions: about } : {},
    ),
  };
}

const tabular = (header: Row, rows: readonly Row[], json: object, words = 0): Section => ({
  text: columns(header, rows, words),
  markdown: markdownTable(header, rows),
  json,
  blocks: [{ kind: "table", header, rows, words }],
});

const withWords = (section: Section, words: string): Section => ({
  ...section,
  text: `${section.text}\n${words}`,
  markdown: `${section.markdown}\n${words}`,
  blocks: [...section.blocks, { kind: "text", text: words }],
});

const titleOf = ({ hardware }: GridOptions) => `${hardware.name}, ${hardware.link.name}`;

const gridHeader = ["size", "ranks", "context", "standard", "all-reduce"].concat(
  ["parallel", "ladder", "Kraken"],
  ["bound", "K. bound"],
);

const gains = (speedUp: Cell["speedUp"]): string[] =>
  [speedUp.parallel, speedUp.ladder, speedUp.kraken, speedUp.gptBound, speedUp.krakenBound].map(percent);

/** A bar as long as Kraken's speed-up, beside the numbers of a terminal. */
function bars(cells: readonly Cell[]): string[] {
  const longest = Math.max(0.01, ...cells.map(({ speedUp }) => speedUp.kraken));
  return cells.map(({ speedUp }) => "█".repeat(Math.max(0, Math.round((20 * speedUp.kraken) / longest))));
}

/** `published`: what the paper measured, if these are its cells; `width`: of the terminal, in columns. */
export function gridReport(
  grid: Grid,
  options: GridOptions,
  about: readonly string[],
  published: { geometricMean: number; lowest: number; highest: number } | undefined,
  before: Section | undefined,
  width = Number.POSITIVE_INFINITY,
): PlanPage {
  const rows = grid.cells.map((cell) => [
    cell.size,
    whole(cell.ranks),
    whole(cell.contextLength),
    milliseconds(cell.predictions.gpt.ttftMs),
    percent(cell.allReduceShare),
    ...gains(cell.speedUp),
  ]);
  const means = grid.means.map(({ ranks, speedUp }) => [
    "mean",
    ranks === undefined ? "all" : whole(ranks),
    "",
    "",
    "",
    ...gains(speedUp),
  ]);
  const drawn = width < 112 ? rows.map(() => "") : bars(grid.cells);
  const all = grid.cells.map(({ speedUp }) => speedUp.kraken);
  const predicted = grid.means.at(-1)!.speedUp.kraken;
  const range = `${percent(Math.min(...all))} to ${percent(Math.max(...all))}`;
  const verdict =
    `Kraken over standard: predicted ${percent(predicted)} (${range})` +
    (published
      ? `; published ${percent(published.geometricMean)} (${percent(published.lowest)} to ${percent(published.highest)}), ` +
        "measured on 8 A100 of 40 GB\n"
      : "\n");
  const legend =
    "standard: its time to first token, and the share of it that all-reduces take; then how much faster the others\n" +
    "are than it (its time over theirs, minus 1); bound: a standard transformer whose collectives cost nothing,\n" +
    "K. bound: such a Kraken; mean: geometric.\n";
  const table: Section = {
    text: `${columns(
      [...gridHeader, ""],
      [...rows.map((row, i) => [...row, drawn[i]!]), ...means.map((row) => [...row, ""])],
      1,
    )}\n${verdict}${legend}`,
    markdown: `${markdownTable(gridHeader, [...rows, ...means])}\n${verdict}\n${legend}`,
    blocks: [
      { kind: "text", text: verdict },
      { kind: "table", header: gridHeader, rows: [...rows, ...means] },
      { kind: "text", text: legend },
    ],
    json: {
      hardware: options.hardware,
      ...(options.efficiencies && { efficiencies: options.efficiencies }),
      ...grid,
      ...(published && { published }),
    },
  };
  return page(`Time to first token, predicted: ${titleOf(options)}`, [before, table], about);
}

function point(found: BreakEven, shown: (value: number) => string): string {
  return found.wins === "beyond" ? shown(found.at) : found.wins;
}

export interface BreakEvenPoint {
  cell: Cell;
  bandwidth: BreakEven;
  latency: BreakEven;
}

export function breakEvenReport(
  points: readonly BreakEvenPoint[],
  options: GridOptions,
  about: readonly string[],
  before: Section | undefined,
): PlanPage {
  const { link } = options.hardware;
  const header = ["size", "ranks", "context", "Kraken", "below bandwidth", "above latency"];
  const rows = points.map(({ cell, bandwidth, latency }) => [
    cell.size,
    whole(cell.ranks),
    whole(cell.contextLength),
    percent(cell.speedUp.kraken),
    point(bandwidth, rate),
    point(latency, duration),
  ]);
  const table = tabular(header, rows, {
    hardware: options.hardware,
    ...(options.efficiencies && { efficiencies: options.efficiencies }),
    breakEven: points.map(({ cell, bandwidth, latency }) => ({
      size: cell.size,
      ranks: cell.ranks,
      contextLength: cell.contextLength,
      speedUp: cell.speedUp.kraken,
      bandwidth,
      latency,
    })),
  });
  const legend =
    `Kraken: its speed-up on this link. It is first below that bandwidth (at ${duration(link.latencySeconds)} an all-reduce),\n` +
    `or above that latency (at ${rate(link.bytesPerSecond)}); always, never: at any.\n`;
  return page(
    `Links on which Kraken is first: ${titleOf(options)}`,
    [before, withWords(table, legend)],
    about,
  );
}

export function calibrationReport(calibration: Calibration): Section {
  const { efficiencies, rmsError, determined, atBound, ratios } = calibration;
  const note = (key: keyof typeof efficiencies) =>
    determined[key]
      ? atBound.includes(key)
        ? "at the end of what is searched: is this the hardware that was measured?"
        : ""
      : "unknown, taken as 100 %: no row depends on it";
  const names = { flop: "arithmetic", link: "link", hbm: "memory" } as const;
  const rows = (["flop", "link", "hbm"] as const).map((key) => [
    names[key],
    percent(efficiencies[key]),
    note(key),
  ]);
  const table = tabular(["of peak", "reached", ""], rows, { calibration }, 1);
  const error = `Fitted to ${plural(ratios.length, "row")}; typical error ${percent(rmsError)}.\n`;
  return {
    ...table,
    text: `${table.text}${error}`,
    markdown: `${table.markdown}\n${error}`,
    blocks: [...table.blocks, { kind: "text", text: error }],
  };
}

export function designReport(designs: readonly Design[], ranks: number, hardware: Hardware): PlanPage {
  const [{ config, deviation, perRank }] = designs as [Design];
  const header = ["layers", "width", "heads of a way", "parameters", "weights", "KV a token"];
  const kv = `KV at ${whole(config.maxPositions)}`;
  const rows = designs.map((one) => [
    whole(one.config.layers),
    whole(one.config.hiddenSize),
    `${one.config.heads} of ${one.config.headDim}`,
    `${whole(one.parameters)} (${one.deviation < 0 ? "" : "+"}${percent(one.deviation)})`,
    bytes(one.perRank.weightBytes),
    bytes(one.perRank.kvBytesPerToken),
    bytes(one.perRank.kvBytes),
  ]);
  const needed = perRank.weightBytes + perRank.kvBytes;
  const fits = needed < hardware.memoryBytes;
  const words =
    `The first: ${modelLine(config)} (${percent(Math.abs(deviation))} off), MLP of ${config.ffnSize} columns in each way.\n` +
    `Memory is of each of ${plural(ranks, "rank")}; a standard transformer of this budget keeps ` +
    `${bytes(perRank.standardKvBytesPerToken)} a token.\n` +
    `${bytes(needed)} of weights and one full context ${fits ? "fit" : "do not fit"} the memory of ${hardware.name} (${bytes(hardware.memoryBytes)}).\n`;
  const table = tabular([...header, kv], rows, { ranks, fits, hardware: hardware.name, designs });
  return page("Krakens to train, the best first", [withWords(table, words)], []);
}
