/** A progress bar on a terminal's stderr, and nothing anywhere else. */
import type { Output } from "./context.js";
import { bytes, duration, whole } from "./output.js";

const cells = 24;

/** How long what is left will take, from how long what was done took. */
export class Pace {
  readonly #start = performance.now();

  /** NaN until something is done. */
  secondsLeft(done: number, left: number): number {
    return done > 0 ? ((performance.now() - this.#start) / 1000 / done) * left : Number.NaN;
  }
}

export class ProgressBar {
  readonly #output: Output | undefined;
  #width = 0;

  /** `enabled` false (for --json) shows nothing. */
  constructor(output: Output, enabled = true) {
    this.#output = enabled && output.isTTY ? output : undefined;
  }

  update(label: string, done: number, total: number): void {
    this.#show(label, done, total, bytes(total));
  }

  /** Of things other than bytes; `secondsLeft` NaN is not shown. */
  count(label: string, done: number, total: number, noun: string, secondsLeft: number): void {
    const left = Number.isNaN(secondsLeft) ? "" : `, ${duration(secondsLeft)} left`;
    this.#show(label, done, total, `${whole(total)} ${noun}${left}`);
  }

  /** Removes it. */
  clear(): void {
    if (this.#width > 0) this.show("");
  }

  #show(label: string, done: number, total: number, ofWhat: string): void {
    const share = total > 0 ? Math.min(1, done / total) : 1;
    const filled = Math.round(share * cells);
    const bar = "█".repeat(filled) + "░".repeat(cells - filled);
    this.show(`${label.padEnd(10)} ${bar} ${Math.floor(share * 100)} % of ${ofWhat}`);
  }

  /** Any words in its place. */
  show(line: string): void {
    const text = line.slice(0, (this.#output?.columns || 80) - 1);
    this.#output?.write(`\r${text.padEnd(this.#width)}${text === "" ? "\r" : ""}`);
    this.#width = text.length;
  }
}
