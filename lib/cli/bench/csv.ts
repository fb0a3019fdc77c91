/** One line for each variant of each cell. */
import type { Analysis, Timed } from "../../bench/analysis.js";

type Value = string | number | null | undefined;

/** RFC 4180: quoted where it has to be. */
export function csvLine(values: readonly Value[]): string {
  const cells = values.map((value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  });
  return `${cells.join(",")}\r\n`;
}

const header = ["comparison", "dtype", "ranks", "backend", "link", "context", "batch"].concat(
  ["label", "model", "architecture", "parameters", "role", "own_ranks", "threads_per_rank"],
  ["n", "min_ms", "mean_ms", "median_ms", "std_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms"],
  ["engine_median_ms", "cold_ms", "speed_up", "speed_up_low", "speed_up_high", "share_of_bound"],
  ["collectives", "collective_ms_per_layer", "exposed_ms_per_layer", "inter_token_median_ms", "failure"],
);

function times(timed: Timed): Value[] {
  const { n, min, mean, median, std, p90, p95, p99, max } = timed.time;
  const { speedUp } = timed;
  return [
    ...[n, min, mean, median, std, p90, p95, p99, max],
    ...[timed.engine.median, timed.coldMs, speedUp?.estimate, speedUp?.low, speedUp?.high],
  ];
}

export function benchCsv({ results }: Analysis): string {
  const lines = results.flatMap(({ cell, entries }) =>
    entries.flatMap((entry) => {
      const { label, model, architecture, parameters, failures } = entry;
      const where = [
        cell.comparison,
        cell.dtype,
        cell.ranks,
        cell.backend,
        cell.link,
        cell.context,
        cell.batch,
      ];
      const variant = (role: string, timed: Timed | null) =>
        timed
          ? [
              csvLine([
                ...[
                  ...where,
                  label,
                  model,
                  architecture,
                  parameters,
                  role,
                  timed.ranks,
                  timed.threadsPerRank,
                ],
                ...times(timed),
                role === "main" ? entry.shareOfBound : null,
                ...[timed.exchanges, timed.perLayer?.collectiveMs, timed.perLayer?.exposedMs],
                ...[timed.interToken?.median, null],
              ]),
            ]
          : [];
      const timed = [
        ...variant("main", entry.main),
        ...variant("bound", entry.bound),
        ...variant("one-rank", entry.oneRank),
      ];
      const blank = new Array<null>(header.length - where.length - 5).fill(null);
      const failed = failures.map((why) =>
        csvLine([...where, label, model, architecture, parameters, ...blank, why]),
      );
      return [...timed, ...failed];
    }),
  );
  return csvLine(header) + lines.join("");
}
