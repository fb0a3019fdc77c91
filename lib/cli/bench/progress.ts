/** What a benchmark is doing, on one line of a terminal. */
import type { BenchProgress } from "../../bench/run.js";
import { duration, percent } from "./format.js";

export function progressLine(progress: BenchProgress): string {
  const { stage, what, done, cells, round, expectedRounds, widestInterval, secondsLeft } = progress;
  const parts = [`cell ${Math.min(done + 1, cells)} of ${cells}`];
  if (stage === "check") parts.push("checking the logits");
  else if (stage === "load") parts.push("building and loading");
  else if (stage === "warm-up") parts.push("warming up");
  else parts.push(`round ${round} of about ${expectedRounds}`);
  if (widestInterval) parts.push(`interval ${percent(widestInterval)}`);
  if (secondsLeft !== undefined) parts.push(`${duration(secondsLeft)} left`);
  return `${parts.join(", ")}: ${what}`;
}
