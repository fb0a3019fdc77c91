/** When requests come, and what each of them must meet to count as good. */
import { closest, optionError } from "../options.js";
import { randomNumbers } from "../report/statistics.js";

export type Arrival = "poisson" | "fixed";

/**
 * Seconds from the start at which `count` requests come, the first at 0.
 * @param rate requests a second on average; null: all at once
 */
export function arrivalTimes(count: number, rate: number | null, arrival: Arrival, seed: number): number[] {
  if (rate === null) return new Array<number>(count).fill(0);
  const random = randomNumbers(seed);
  const gap = () => (arrival === "fixed" ? 1 : -Math.log(1 - random())) / rate;
  let at = 0;
  return Array.from({ length: count }, (_, i) => {
    if (i > 0) at += gap();
    return at;
  });
}

/** Milliseconds that a request may take; the names are vLLM's. */
export type Limits = { [name in LimitName]?: number };
export const limitNames = ["ttft", "tpot", "e2el"] as const;
export type LimitName = (typeof limitNames)[number];

/**
 * "ttft:200,tpot:50"
 * @throws ArgumentError ERR_OPTION naming the part that is wrong
 */
export function parseGoodput(text: string): Limits {
  const limits: Limits = {};
  for (const part of text.split(",")) {
    const [, name = "", digits] = /^\s*([a-z0-9]+)\s*:\s*([\d.]+)\s*$/.exec(part) ?? [];
    const limit = Number(digits);
    const known = limitNames.find((one) => one === name);
    if (known === undefined || !(limit > 0)) {
      const meant = closest(name, limitNames);
      const expected = `milliseconds after ${limitNames.join(", ")}, as in "ttft:200,tpot:50"`;
      throw optionError(
        "goodput",
        meant && meant !== name ? `${expected} (did you mean ${meant}?)` : expected,
        part,
      );
    }
    limits[known] = limit;
  }
  return limits;
}
