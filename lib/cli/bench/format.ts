/** Numbers of a benchmark as people read them. */
import { gain } from "../../bench/findings.js";
import type { Interval } from "../../report/statistics.js";
import { milliseconds } from "../output.js";

export { gain };

export const missing = "–";
export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
export const interval = ({ low, high }: Interval): string => `${gain(low)} … ${gain(high)}`;

/** "0.031 ms": parts of a layer are short. */
export function shortTime(value: number): string {
  return value < 0.1 ? `${(1000 * value).toFixed(value < 0.01 ? 1 : 0)} us` : milliseconds(value);
}

/** `shown` of what there is. */
export function or<T>(value: T | null | undefined, shown: (value: T) => string): string {
  return value === null || value === undefined ? missing : shown(value);
}

/** "40 s", "3 min", "1 h 20 min". */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
