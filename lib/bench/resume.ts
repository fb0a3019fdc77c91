/** Reads what a benchmark wrote, to go on with it or to compare it. */
import { isDeepStrictEqual } from "node:util";
import { ArgumentError } from "../errors.js";
import { hasCode } from "../io-error.js";
import { optionError, shown } from "../options.js";
import { readJson } from "../plan/hardware-file.js";
import {
  type BenchRecord,
  type CellRecord,
  type Environment,
  formatName,
  formatVersion,
  type PhaseRecord,
} from "./document.js";
import type { Phase, Settings } from "./options.js";

type Fields = Record<string, unknown>;

function fieldsOf(where: string, value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw optionError(where, "an object", value);
  return value as Fields;
}

function listOf(where: string, value: unknown): unknown[] {
  if (!Array.isArray(value)) throw optionError(where, "a list", value);
  return value;
}

function checkFields(
  where: string,
  fields: Fields,
  types: Record<string, "string" | "number" | "boolean">,
): void {
  for (const [key, type] of Object.entries(types)) {
    if (typeof fields[key] !== type) throw optionError(`${where}.${key}`, `a ${type}`, fields[key]);
  }
}

const perRound = [
  "samplesMs",
  "engineMs",
  "exposedMs",
  "collectiveMs",
] as const satisfies (keyof PhaseRecord)[];

function checkSamples(where: string, value: unknown, rounds: number): void {
  const fields = fieldsOf(where, value);
  checkFields(where, fields, { coldMs: "number", exchanges: "number" });
  fieldsOf(`${where}.perOpMs`, fields.perOpMs);
  for (const key of perRound) {
    const samples = listOf(`${where}.${key}`, fields[key]);
    const bad = samples.find((sample) => typeof sample !== "number" || !Number.isFinite(sample));
    if (bad !== undefined) throw optionError(`${where}.${key}`, "finite numbers", bad);
    if (samples.length !== rounds) {
      throw new ArgumentError(
        "ERR_OPTION",
        `\`${where}.${key}\` has ${samples.length} samples of ${rounds} rounds`,
      );
    }
  }
}

function checkCell(where: string, value: unknown): void {
  const cell = fieldsOf(where, value);
  checkFields(where, cell, {
    comparison: "string",
    ranks: "number",
    dtype: "string",
    backend: "string",
    link: "string",
    batch: "number",
    context: "number",
    baseline: "string",
    rounds: "number",
    seconds: "number",
    stopped: "string",
  });
  for (const [i, value] of listOf(`${where}.variants`, cell.variants).entries()) {
    const at = `${where}.variants[${i}]`;
    const variant = fieldsOf(at, value);
    checkFields(at, variant, { label: "string", model: "string", architecture: "string", role: "string" });
    checkFields(at, variant, { ranks: "number", threadsPerRank: "number", parameters: "number" });
    checkFields(`${at}.config`, fieldsOf(`${at}.config`, variant.config), {
      layers: "number",
      hiddenSize: "number",
    });
    for (const phase of ["prefill", "decode"] as const) {
      if (variant[phase] !== undefined) checkSamples(`${at}.${phase}`, variant[phase], cell.rounds as number);
    }
  }
}

/**
 * @param where names the file in messages
 * @throws ArgumentError ERR_OPTION naming what is missing or wrong, and for what another version wrote
 */
export function parseBench(json: unknown, where: string): BenchRecord {
  const fields = fieldsOf(where, json);
  if (fields.format !== formatName) {
    throw new ArgumentError(
      "ERR_OPTION",
      `${where} was not written by kraken bench: its \`format\` is ${shown(fields.format)}`,
    );
  }
  if (fields.formatVersion !== formatVersion) {
    throw new ArgumentError(
      "ERR_OPTION",
      `${where} has format version ${shown(fields.formatVersion)}, this is version ${formatVersion}: measure again`,
    );
  }
  checkFields(where, fields, { startedAt: "string", phase: "string", complete: "boolean" });
  fieldsOf(`${where}: settings`, fields.settings);
  const environment = fieldsOf(`${where}: environment`, fields.environment);
  checkFields(`${where}: environment`, environment, { version: "string" });
  const cpu = fieldsOf(`${where}: environment.cpu`, environment.cpu);
  checkFields(`${where}: environment.cpu`, cpu, { model: "string", usable: "number" });
  for (const [i, cell] of listOf(`${where}: cells`, fields.cells).entries())
    checkCell(`${where}: cells[${i}]`, cell);
  return json as BenchRecord;
}

/** @throws as parseBench(); ERR_OPTION if it is no JSON; RuntimeError ERR_IO */
export const readBench = async (path: string): Promise<BenchRecord> => parseBench(await readJson(path), path);

/**
 * The cells of an earlier run that need not be measured again; none where there is no file. An interrupted cell starts
 * again, as its samples belong together.
 * @throws ArgumentError ERR_OPTION where the file is of other settings, another version or another machine
 */
export async function earlierCells(
  path: string,
  phase: Phase,
  settings: Settings,
  { version, cpu }: Environment,
): Promise<CellRecord[]> {
  let earlier: BenchRecord;
  try {
    earlier = await readBench(path);
  } catch (error) {
    if (error instanceof Error && hasCode(error.cause, "ENOENT")) return [];
    throw error;
  }
  const other = (what: string, was: unknown, is: unknown) =>
    new ArgumentError(
      "ERR_OPTION",
      `${path} cannot be resumed: its ${what} was ${shown(was)} and is ${shown(is)}; give the same options, or another file`,
    );
  if (earlier.phase !== phase) throw other("subject", earlier.phase, phase);
  const saved = earlier.settings as unknown as Fields;
  for (const [key, value] of Object.entries(settings)) {
    if (!isDeepStrictEqual(saved[key], value)) throw other(`\`${key}\``, saved[key], value);
  }
  const then = earlier.environment;
  if (then.version !== version) throw other("version of kraken-engine", then.version, version);
  if (then.cpu.model !== cpu.model) throw other("processor", then.cpu.model, cpu.model);
  return earlier.cells.filter((cell) => cell.stopped !== "interrupted");
}
