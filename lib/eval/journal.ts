/**
 * What a long evaluation has done so far, one JSON line for each part, so that a run that was killed goes on where it
 * stopped. The first line says what is being evaluated: a journal of something else is refused.
 */
import { appendFile, readFile, truncate } from "node:fs/promises";
import { ArgumentError } from "../errors.js";
import { hasCode, ioError, withIoErrors } from "../io-error.js";
import { shown } from "../options.js";

const format = "kraken-eval-journal";
const version = 1;

/** What must be the same for a run to go on: name and value of everything that changes its results. */
export type Identity = Readonly<Record<string, string | number | null>>;

/** undefined refuses a value that no run wrote. */
type Parse<T> = (value: unknown) => T | undefined;

export class Journal<T> {
  private constructor(
    readonly path: string | undefined,
    /** What earlier runs did, by key. */
    readonly earlier: ReadonlyMap<string, T>,
  ) {}

  /**
   * Opens the journal at `path` or begins one; without a path nothing is kept. A line that a killed run left
   * unfinished is cut off.
   * @throws ArgumentError ERR_DATA when the file is no journal, or of a run with another identity; RuntimeError ERR_IO
   */
  static async open<T>(path: string | undefined, identity: Identity, parse: Parse<T>): Promise<Journal<T>> {
    if (path === undefined) return new Journal<T>(undefined, new Map());
    const text = await readIfThere(path);
    const end = text.lastIndexOf("\n") + 1;
    const [header, ...lines] = text.slice(0, end).split("\n").slice(0, -1);
    await withIoErrors(`write ${path}`, async () => {
      if (header === undefined) {
        await truncate(path).catch(ignoreMissing);
        await appendFile(path, `${JSON.stringify({ format, version, ...identity })}\n`);
      } else {
        checkHeader(path, header, identity);
        await truncate(path, Buffer.byteLength(text.slice(0, end)));
      }
    });
    const entries = lines.map((line, i) => entryOf(path, i + 2, line, parse));
    return new Journal(path, new Map(entries));
  }

  /** Written when it resolves. @throws RuntimeError ERR_IO */
  async add(key: string, value: T): Promise<void> {
    const { path } = this;
    if (path === undefined) return;
    await withIoErrors(`write ${path}`, () => appendFile(path, `${JSON.stringify([key, value])}\n`));
  }
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return "";
    throw ioError(error, `read ${path}`);
  }
}

function ignoreMissing(error: unknown): void {
  if (!hasCode(error, "ENOENT")) throw error;
}

function parseLine(path: string, number: number, line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new ArgumentError("ERR_DATA", `${path}:${number}: not the journal of an evaluation; remove it`, {
      cause: error,
    });
  }
}

function checkHeader(path: string, line: string, identity: Identity): void {
  const header = parseLine(path, 1, line) as Record<string, unknown> | null;
  if (header?.format !== format || header.version !== version) {
    throw new ArgumentError("ERR_DATA", `${path}:1: not a journal that this version writes; remove it`);
  }
  for (const [name, value] of Object.entries(identity)) {
    if (header[name] === value) continue;
    throw new ArgumentError(
      "ERR_DATA",
      `${path} is of another run: its ${name} is ${shown(header[name])}, now it is ${shown(value)}. ` +
        "Go on with what it was begun with, or remove it to begin anew",
    );
  }
}

function entryOf<T>(path: string, number: number, line: string, parse: Parse<T>): [string, T] {
  const entry = parseLine(path, number, line);
  const [key, value] = Array.isArray(entry) ? entry : [];
  const parsed = parse(value);
  if (typeof key !== "string" || parsed === undefined) {
    throw new ArgumentError(
      "ERR_DATA",
      `${path}:${number}: not an entry that this version writes; remove it`,
    );
  }
  return [key, parsed];
}
