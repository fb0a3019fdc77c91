/** Rows of a JSON Lines file, and their fields with checks whose messages name file, line and field. */
import { readFile } from "node:fs/promises";
import { ArgumentError } from "../../errors.js";
import { withIoErrors } from "../../io-error.js";
import { shown } from "../../options.js";

export class Row {
  constructor(
    /** "val.jsonl:3" */
    readonly where: string,
    private readonly fields: Readonly<Record<string, unknown>>,
    /** Of an object inside a row: "passage.questions[0]." */
    private readonly prefix = "",
  ) {}

  /** @param rule completes "must be …" */
  fail(key: string, rule: string): never {
    const name = `\`${this.prefix}${key}\``;
    const value = this.fields[key];
    const what = value === undefined ? `${name} is missing` : `${name} must be ${rule}, got ${shown(value)}`;
    throw new ArgumentError("ERR_DATA", `${this.where}: ${what}`);
  }

  /** Text that is more than white space. */
  text(key: string): string {
    const value = this.fields[key];
    return typeof value === "string" && value.trim() !== "" ? value : this.fail(key, "text");
  }

  /** The index of the word that the field holds. */
  oneOf(key: string, words: readonly string[]): number {
    const index = words.indexOf(this.fields[key] as string);
    return index >= 0 ? index : this.fail(key, words.map((word) => JSON.stringify(word)).join(" or "));
  }

  boolean(key: string): boolean {
    const value = this.fields[key];
    return typeof value === "boolean" ? value : this.fail(key, "true or false");
  }

  /** A whole number from `min` to below `end`. */
  integer(key: string, min: number, end: number): number {
    const value = this.fields[key];
    const fits = Number.isInteger(value) && (value as number) >= min && (value as number) < end;
    return fits ? (value as number) : this.fail(key, `a whole number from ${min} to ${end - 1}`);
  }

  /** An object in the row. */
  row(key: string): Row {
    const value = this.fields[key];
    return isObject(value)
      ? new Row(this.where, value, `${this.prefix}${key}.`)
      : this.fail(key, "an object");
  }

  /** A list of objects, not an empty one. */
  rows(key: string): Row[] {
    const value = this.fields[key];
    if (!Array.isArray(value) || value.length === 0 || !value.every(isObject)) {
      return this.fail(key, "a list of objects with at least one");
    }
    return value.map((fields, i) => new Row(this.where, fields, `${this.prefix}${key}[${i}].`));
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * All rows of a file; empty lines are none.
 * @throws ArgumentError ERR_DATA for a line that is no JSON object, or a file without rows; RuntimeError ERR_IO
 */
export async function readRows(file: string): Promise<Row[]> {
  const text = await withIoErrors(`read ${file}`, () => readFile(file, "utf8"));
  const rows = text
    .split("\n")
    .flatMap((line, i) => (line.trim() === "" ? [] : rowOf(`${file}:${i + 1}`, line)));
  if (rows.length === 0) throw new ArgumentError("ERR_DATA", `${file} has no rows`);
  return rows;
}

function rowOf(where: string, line: string): Row {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new ArgumentError("ERR_DATA", `${where}: not JSON: ${(error as Error).message}`, { cause: error });
  }
  if (!isObject(value))
    throw new ArgumentError("ERR_DATA", `${where}: must be an object, got ${shown(value)}`);
  return new Row(where, value);
}
