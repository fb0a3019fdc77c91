/** The chart of `kraken plan --html`. */
import type { Grid, Variant } from "../plan/index.js";
import type { Charts } from "../report/charts.js";
import type { Chart } from "../report/page.js";

const shown: readonly (readonly [Exclude<Variant, "gpt">, string])[] = [
  ["parallel", "parallel"],
  ["ladder", "ladder"],
  ["kraken", "Kraken"],
];

const percent = (share: number) => 100 * share;

/** @param published the paper's geometric mean of Kraken's speed-ups, where these are its cells */
export function planChart(charts: Charts, { cells }: Grid, published?: number): Chart {
  const data = cells.flatMap((cell) =>
    shown.map(([variant]) => {
      const estimate = percent(cell.speedUp[variant]);
      return {
        group: `${cell.ranks} ranks`,
        label: `${cell.size}, context ${cell.contextLength}`,
        ...{ estimate, low: estimate, high: estimate },
        color: `var(--${variant})`,
      };
    }),
  );
  const lines = published === undefined ? [] : [percent(published)];
  return {
    kind: "chart",
    title: "Predicted speed-up over standard",
    svg: charts.dots(data, "its time over this one's, minus 1, in percent", lines),
    caption: published === undefined ? "" : "Dashed: the geometric mean that the paper measured for Kraken.",
    wide: true,
    legend: shown.map(([variant, label]) => ({ label, color: `var(--${variant})` })),
  };
}
