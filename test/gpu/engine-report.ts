/**
 * What engines on a GPU showed, in the form of report.h: a line for each group of checks and each figure, and the same
 * added to the JSON file that the kernels' tests left, which is whole at any time.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

export interface Check {
  name: string;
  error: number;
  tolerance: number;
}

interface Group {
  name: string;
  checks: number;
  failed: number;
  tolerance_used: number;
  seconds: number;
  skipped?: string;
}

interface Document {
  device: string | null;
  passed: boolean;
  running: string | null;
  checks: Group[];
  figures: { name: string; value: number; unit: string }[];
}

export const noTime = "left out: the time was up";

const passes = ({ error, tolerance }: Check) => error <= tolerance; // not where the error is NaN

export class EngineReport {
  readonly #json: string | undefined;
  readonly #document: Document;
  /** Of this run alone, while the document has what was there before. */
  readonly #groups: Group[] = [];
  #figures = 0;

  /** @throws SyntaxError where `json` exists and is none */
  constructor(json: string | undefined) {
    this.#json = json;
    this.#document =
      json !== undefined && existsSync(json)
        ? JSON.parse(readFileSync(json, "utf8"))
        : { device: null, passed: true, running: null, checks: [], figures: [] };
  }

  get passed(): boolean {
    return this.#groups.every(({ failed }) => failed === 0);
  }

  begin(part: string): void {
    this.#save(part);
  }

  add(name: string, checks: readonly Check[], seconds: number): void {
    const failures = checks.filter((check) => !passes(check));
    for (const { name, error, tolerance } of failures) {
      console.log(`  FAILED ${name}: ${error}, allowed ${tolerance}`);
    }
    const used = Math.max(
      0,
      ...checks.map(({ error, tolerance }) => (tolerance > 0 ? error / tolerance : 0)),
    );
    // A group without checks has shown nothing.
    const failed = checks.length === 0 ? 1 : failures.length;
    this.#group(
      { name, checks: checks.length, failed, tolerance_used: used, seconds },
      `${String(checks.length).padStart(6)} checks, at most ${(100 * used).toFixed(0).padStart(3)} % of a tolerance, ` +
        `${seconds.toFixed(1).padStart(5)} s`,
    );
  }

  /** What could not be tried, or broke down. */
  fail(name: string, reason: string, seconds: number): void {
    this.#group({ name, checks: 0, failed: 1, tolerance_used: 0, seconds }, reason);
  }

  skip(name: string, reason: string): void {
    this.#group({ name, checks: 0, failed: 0, tolerance_used: 0, seconds: 0, skipped: reason }, reason);
  }

  figure(name: string, value: number, unit: string): void {
    console.log(`       ${name.padEnd(60)} ${value.toFixed(2).padStart(10)} ${unit}`);
    this.#document.figures.push({ name, value, unit });
    this.#figures++;
  }

  end(): void {
    this.#save(null);
    const run = this.#groups.filter(({ skipped }) => skipped === undefined);
    const failed = run.reduce((sum, group) => sum + group.failed, 0);
    console.log(
      `\nengines ${this.passed ? "passed" : "FAILED"}: ${run.length} groups run, ${failed} checks failed; ` +
        `${this.#groups.length - run.length} skipped; ${this.#figures} figures`,
    );
    for (const { name, skipped } of this.#groups) {
      if (skipped === noTime) console.log(`  no time for: ${name}`);
    }
  }

  #group(group: Group, line: string): void {
    const word = group.skipped !== undefined ? "skip" : group.failed === 0 ? "ok" : "FAILED";
    console.log(`${word.padEnd(6)} ${group.name.padEnd(44)} ${line}`);
    this.#groups.push(group);
    this.#document.checks.push(group);
    this.#document.passed &&= group.failed === 0;
  }

  #save(running: string | null): void {
    if (this.#json === undefined) return;
    const unfinished = `${this.#json}.part`;
    writeFileSync(unfinished, `${JSON.stringify({ ...this.#document, running }, null, 2)}\n`);
    renameSync(unfinished, this.#json);
  }
}
