/**
 * The slowest-enough link: below which bandwidth, and above which latency, a Kraken's first token comes before that of
 * the standard transformer of its budget. The standard one sends more bytes in more messages and hides none, so what
 * Kraken gains only grows as a link gets slower, and bisection finds the one point where they are equal.
 */
import { predictTtft, type TtftQuestion } from "./cost-model.js";
import type { Link } from "./hardware.js";

export type BreakEven =
  /** Kraken is first at every link, however fast; or at none, however slow. */
  | { wins: "always" }
  | { wins: "never" }
  /** bytesPerSecond: Kraken is first below it; seconds: above it. */
  | { wins: "beyond"; at: number };

export interface Contest {
  standard: TtftQuestion;
  kraken: TtftQuestion;
}

/** Positive: Kraken is first. Milliseconds. */
function lead({ standard, kraken }: Contest, link: Partial<Link>): number {
  const over = (question: TtftQuestion) => {
    const hardware = { ...question.hardware, link: { ...question.hardware.link, ...link } };
    return predictTtft({ ...question, hardware }).ttftMs;
  };
  return over(standard) - over(kraken);
}

/** The point between `fast` (Kraken behind) and `slow` (Kraken ahead) where neither is, on a logarithmic scale. */
function bisect(fast: number, slow: number, leadAt: (value: number) => number): BreakEven {
  if (leadAt(fast) > 0) return { wins: "always" };
  if (leadAt(slow) <= 0) return { wins: "never" };
  let [behind, ahead] = [fast, slow];
  for (let i = 0; i < 200 && Math.abs(ahead / behind - 1) > 1e-9; i++) {
    const middle = Math.sqrt(ahead * behind);
    if (leadAt(middle) > 0) ahead = middle;
    else behind = middle;
  }
  return { wins: "beyond", at: Math.sqrt(ahead * behind) };
}

/** At the link's latency: the bandwidth below which Kraken is first, bytes per second in one direction. */
export const breakEvenBandwidth = (contest: Contest): BreakEven =>
  bisect(1e18, 1, (bytesPerSecond) => lead(contest, { bytesPerSecond }));

/** At the link's bandwidth: the latency of an all-reduce above which Kraken is first, seconds. */
export const breakEvenLatency = (contest: Contest): BreakEven =>
  bisect(1e-15, 1e3, (latencySeconds) => lead(contest, { latencySeconds }));
