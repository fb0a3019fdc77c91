/** Where a report goes: `--json`, `--csv` and `--markdown` to stdout or to a file, `--html` to a file. */
import { access, constants, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Command } from "commander";
import { withIoErrors } from "../../io-error.js";
import type { Context } from "../context.js";
import { UsageError } from "../failure.js";
import { addFlag } from "../flags.js";
import { printJson } from "../output.js";

export interface OutputFlags {
  json?: true | string;
  csv?: true | string;
  markdown?: true | string;
  html?: string;
}

const formats = ["json", "csv", "markdown", "html"] as const;
type Format = (typeof formats)[number];

export function addOutputFlags(command: Command): void {
  command.optionsGroup("Output (a table unless one of them goes to stdout):");
  const flag = (flags: string, text: string) => addFlag(command, flags, text, { env: false });
  flag("--json [file]", "raw samples, environment and results as one JSON document");
  flag("--csv [file]", "one line for each variant");
  flag("--markdown [file]", "the whole report");
  flag("--html <file>", "the whole report with charts, as one page that needs nothing else");
}

/** Written whole or not at all. */
export async function writeWhole(path: string, text: string): Promise<void> {
  await withIoErrors(`write ${path}`, async () => {
    const temporary = `${path}.${process.pid}.tmp`;
    await writeFile(temporary, text);
    await rename(temporary, path);
  });
}

/**
 * Before anything is timed.
 * @throws UsageError where two go to stdout; RuntimeError ERR_IO where a file could not be written
 */
export async function checkOutputs(flags: OutputFlags): Promise<void> {
  const toStdout = formats.filter((format) => flags[format] === true);
  if (toStdout.length > 1) {
    throw new UsageError(
      `--${toStdout.join(" and --")} cannot both go to stdout: give a file to one of them`,
    );
  }
  for (const format of formats) {
    const path = flags[format];
    if (typeof path !== "string") continue;
    await withIoErrors(`write ${path}`, () => access(dirname(path), constants.W_OK));
  }
}

/** What there is to write, made when it is asked for. */
export interface Rendered extends Record<Exclude<Format, "json">, () => string | Promise<string>> {
  json(): unknown;
  text(): string;
}

export async function writeOutputs(flags: OutputFlags, rendered: Rendered, context: Context): Promise<void> {
  let toStdout = false;
  for (const format of formats) {
    const path = flags[format];
    if (path === undefined) continue;
    if (path === true && format === "json") printJson(context.stdout, rendered.json());
    else if (path === true) context.stdout.write(await rendered[format as "csv"]());
    else {
      const text = format === "json" ? `${JSON.stringify(rendered.json())}\n` : await rendered[format]();
      await writeWhole(path, text);
    }
    toStdout ||= path === true;
  }
  if (!toStdout) context.stdout.write(rendered.text());
}
