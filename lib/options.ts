/** Checks of option values, so that every message names the option, what was expected and what it got. */
import { inspect } from "node:util";
import { ArgumentError } from "./errors.js";

/** A value as an error message shows it: short. */
export function shown(value: unknown): string {
  return typeof value === "bigint"
    ? `${value}n`
    : inspect(value, {
        depth: 0,
        maxStringLength: 40,
        maxArrayLength: 4,
        breakLength: Number.POSITIVE_INFINITY,
      });
}

export function optionError(name: string, expected: string, got: unknown): ArgumentError {
  return new ArgumentError("ERR_OPTION", `\`${name}\` must be ${expected}, got ${shown(got)}`);
}

/** The integer given, or `fallback` for undefined. `expected` completes "must be …". */
export function integerOption(
  name: string,
  value: unknown,
  { min, max = 2 ** 31 - 1, fallback }: { min: number; max?: number; fallback: number },
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    const range = max === 2 ** 31 - 1 ? `of at least ${min}` : `from ${min} to ${max}`;
    throw optionError(name, `an integer ${range}`, value);
  }
  return value;
}

/** The finite number given, or `fallback` for undefined; `expected` completes "must be …" for one that fails. */
export function numberOption(
  name: string,
  value: unknown,
  { expected, accept, fallback }: { expected: string; accept: (value: number) => boolean; fallback: number },
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || !accept(value)) {
    throw optionError(name, expected, value);
  }
  return value;
}

export function booleanOption(name: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== "boolean") throw optionError(name, "true or false", value);
  return value;
}

export function signalOption(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  if (!(value instanceof AbortSignal)) throw optionError("signal", "an AbortSignal", value);
  return value;
}

/** Edits between two words: insertions, deletions, substitutions and swaps of neighbours. */
function distance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => [i, ...new Array<number>(b.length).fill(0)]);
  for (let j = 0; j <= b.length; j++) rows[0]![j] = j;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      }
      rows[i]![j] = best;
    }
  }
  return rows[a.length]![b.length]!;
}

/** The known word most like `word`, if any is alike at all. Case and separators don't count. */
export function closest(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[-_]/g, "");
  let best: string | undefined;
  let edits = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const d = distance(plain(word), plain(candidate));
    if (d < edits) [best, edits] = [candidate, d];
  }
  return best;
}

/**
 * Checks that `options` is an object without keys that nobody reads.
 * @throws ArgumentError ERR_OPTION naming the unknown key and the one probably meant
 */
export function checkKeys(call: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw new ArgumentError("ERR_OPTION", `${call}: options must be an object, got ${shown(options)}`);
  }
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const meant = closest(key, known);
    throw new ArgumentError(
      "ERR_OPTION",
      `${call}: unknown option \`${key}\`${meant ? `; did you mean \`${meant}\`?` : ` (known: ${known.join(", ")})`}`,
    );
  }
}
