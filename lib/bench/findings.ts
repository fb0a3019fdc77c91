/** What the numbers say, in words: where Kraken wins, where it loses, and why. */
import { published } from "../plan/grid.js";
import type { Interval } from "../report/statistics.js";
import type { Analysis, CellResult, Entry } from "./analysis.js";
import { cellKey } from "./document.js";

const ms = (value: number): string => `${value.toPrecision(3)} ms`;
/** 1.123 as "+12.3 %". */
export const gain = (ratio: number): string => {
  const text = (100 * (ratio - 1)).toFixed(1);
  return `${Number(text) > 0 ? "+" : ""}${text.replace(/^-0\.0$/, "0.0")} %`;
};

const between = ({ low, high }: Interval): string => `95 % interval ${gain(low)} to ${gain(high)}`;

/** Which side of 1 a whole interval lies on. */
export function verdict({ low, high }: Interval): "wins" | "loses" | "draws" {
  if (low > 1) return "wins";
  return high < 1 ? "loses" : "draws";
}

function outcome(label: string, baseline: string, speedUp: Interval): string {
  const numbers = `speed-up ${gain(speedUp.estimate)}, ${between(speedUp)}`;
  switch (verdict(speedUp)) {
    case "wins":
      return `${label} is faster than ${baseline}: ${numbers}.`;
    case "loses":
      return `${label} is slower than ${baseline}: ${numbers}.`;
    case "draws":
      return `${label} and ${baseline} cannot be told apart: ${numbers}.`;
  }
}

/** Splits the difference into arithmetic and communication, by the two bounds. */
function reason(entry: Entry, baseline: Entry): string {
  if (!entry.main || !entry.bound || !baseline.main || !baseline.bound) return "";
  const [own, other] = [entry.bound.time.median, baseline.bound.time.median];
  const cost = (one: Entry) => Math.max(0, one.main!.time.median - one.bound!.time.median);
  const longer = own - other;
  const computes = `${longer > 0 ? `${ms(longer)} longer` : `${ms(-longer)} less`}`;
  return (
    ` Without communication it would take ${ms(own)}, ${baseline.label} ${ms(other)}: it computes ${computes}.` +
    ` Communication costs it ${ms(cost(entry))}, ${baseline.label} ${ms(cost(baseline))}.`
  );
}

/** Whether more ranks were worth their while. */
function splitting(result: CellResult): string {
  const fastest = (pick: (entry: Entry) => number | undefined) =>
    result.entries
      .flatMap((entry) => {
        const time = pick(entry);
        return time === undefined ? [] : [{ label: entry.label, time }];
      })
      .sort((a, b) => a.time - b.time)[0];
  const split = fastest((entry) => entry.main?.time.median);
  const whole = fastest((entry) => entry.oneRank?.time.median);
  if (!split || !whole) return "";
  const threads = result.entries.find((entry) => entry.oneRank)!.oneRank!.threadsPerRank;
  const best =
    split.time <= whole.time
      ? `${split.label} on ${result.cell.ranks} ranks (${ms(split.time)}; on one rank with ${threads} threads ${whole.label}, ${ms(whole.time)})`
      : `${whole.label} on one rank with ${threads} threads (${ms(whole.time)}; on ${result.cell.ranks} ranks ${split.label}, ${ms(split.time)})`;
  return ` Fastest: ${best}.`;
}

function ofCell(result: CellResult): string[] {
  const baseline = result.entries.find(({ label }) => label === result.baseline);
  const failures = result.entries.flatMap(({ label, failures }) =>
    failures.map((why) => `${label} failed: ${why}`),
  );
  const krakens = result.entries.filter(
    ({ architecture, label }) => architecture === "kraken" && label !== result.baseline,
  );
  const said = krakens.flatMap((entry) =>
    baseline && entry.main?.speedUp
      ? [outcome(entry.label, baseline.label, entry.main.speedUp) + reason(entry, baseline)]
      : [],
  );
  const words = [...said, ...failures.map((text) => `${text}.`)].join(" ") + splitting(result);
  return words === "" ? [] : [`${cellKey(result.cell)}: ${words.trim()}`];
}

function ofMeans({ phase, results, means }: Analysis): string[] {
  const last = means.at(-1);
  if (!last) return [];
  return Object.entries(last.speedUps).flatMap(([label, mean]) => {
    const found = results.flatMap(({ entries }) =>
      entries.filter((entry) => entry.label === label && entry.main?.speedUp),
    );
    const all = found.map((entry) => entry.main!.speedUp!.estimate);
    if (all.length < 2) return [];
    const range = `${gain(Math.min(...all))} to ${gain(Math.max(...all))}`;
    const paper =
      phase === "prefill" && found[0]!.architecture === "kraken"
        ? ` The paper reports ${gain(1 + published.geometricMean)} (${gain(1 + published.lowest)} to ` +
          `${gain(1 + published.highest)}) for 1.3b to 175b on 4 and 8 A100.`
        : "";
    return [`${label}: geometric mean ${gain(mean)} over ${all.length} cells (${range}).${paper}`];
  });
}

/** One paragraph for each cell, then one for each mean. */
export function findings(analysis: Analysis): string[] {
  return [...analysis.results.flatMap(ofCell), ...ofMeans(analysis)];
}
