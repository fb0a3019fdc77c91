/** A progress bar on a terminal's stderr, and nothing anywhere else. */
import type { Output } from "./context.js";
import { bytes } from "./output.js";

const cells = 24;

export class ProgressBar {
  readonly #output: Output | undefined;
  #width = 0;

  /** `enabled` false (for --json) shows nothing. */
  constructor(output: Output, enabled = true) {
    this.#output = enabled && output.isTTY ? output : undefined;
  }

  update(label: string, done: number, total: number): void {
    const share = total > 0 ? Math.min(1, done / total) : 1;
    const filled = Math.round(share * cells);
    const bar = "█".repeat(filled) + "░".repeat(cells - filled);
    this.#draw(`${label.padEnd(10)} ${bar} ${Math.floor(share * 100)} % of ${bytes(total)}`);
  }

  /** Removes it. */
  clear(): void {
    if (this.#width > 0) this.#draw("");
  }

  #draw(line: string): void {
    const text = line.slice(0, (this.#output?.columns || 80) - 1);
    this.#output?.write(`\r${text.padEnd(this.#width)}${text === "" ? "\r" : ""}`);
    this.#width = text.length;
  }
}
