/** Reads measured times for calibration: a JSON list of rows, or an object that has them under `rows`. */
import { ArgumentError } from "../errors.js";
import type { Architecture } from "../model-config.js";
import { closest, optionError, shown } from "../options.js";
import type { MeasuredRow } from "./calibrate.js";
import { readJson } from "./hardware-file.js";

const architectures: readonly Architecture[] = ["kraken", "gpt", "parallel", "ladder"];
const dtypes: Record<string, number> = { float32: 4, bfloat16: 2, float16: 2 };

type Fields = Record<string, unknown>;

function objectOf(where: string, value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw optionError(where, "an object", value);
  }
  return value as Fields;
}

function positive(where: string, fields: Fields, key: string, integer: boolean): number {
  const value = fields[key];
  if (value === undefined) throw new ArgumentError("ERR_OPTION", `\`${where}.${key}\` is missing`);
  const fits = typeof value === "number" && (integer ? Number.isSafeInteger(value) : Number.isFinite(value));
  if (!fits || !(value > 0))
    throw optionError(`${where}.${key}`, `a positive ${integer ? "integer" : "number"}`, value);
  return value;
}

function row(where: string, value: unknown, dtypeBytes: number): MeasuredRow {
  const fields = objectOf(where, value);
  const architecture = architectures.find((known) => known === fields.architecture);
  if (architecture === undefined) {
    const meant = typeof fields.architecture === "string" && closest(fields.architecture, architectures);
    const hint = meant ? `; did you mean ${meant}?` : "";
    throw new ArgumentError(
      "ERR_OPTION",
      `\`${where}.architecture\` must be one of ${architectures.join(", ")}, got ${shown(fields.architecture)}${hint}`,
    );
  }
  const { dtype } = fields;
  if (dtype !== undefined && !(typeof dtype === "string" && Object.hasOwn(dtypes, dtype))) {
    throw optionError(`${where}.dtype`, `one of ${Object.keys(dtypes).join(", ")}`, dtype);
  }
  const config = objectOf(`${where}.config`, fields.config);
  const ranks = positive(where, fields, "ranks", true);
  const ways = config.ways === undefined ? ranks : positive(`${where}.config`, config, "ways", true);
  if (architecture === "kraken" && ways % ranks !== 0) {
    throw new ArgumentError("ERR_RANKS", `\`${where}.ranks\` must divide the ways (${ways}): got ${ranks}`);
  }
  return {
    architecture,
    layers: positive(`${where}.config`, config, "layers", true),
    hiddenSize: positive(`${where}.config`, config, "hiddenSize", true),
    ...(architecture === "kraken" && { ways }),
    ...(config.vocabSize !== undefined && {
      vocabSize: positive(`${where}.config`, config, "vocabSize", true),
    }),
    ranks,
    contextLength: positive(where, fields, "context", true),
    batch: fields.batch === undefined ? 1 : positive(where, fields, "batch", true),
    dtypeBytes: dtype === undefined ? dtypeBytes : dtypes[dtype as string]!,
    communication: fields.communication === "none" ? "none" : "overlapped",
    conjunction: "last", // what an engine does
    medianMs: positive(where, fields, "medianMs", false),
  };
}

/**
 * Rows `{architecture, config: {layers, hiddenSize, ways?, vocabSize?}, ranks, context, batch?, dtype?, medianMs}`.
 * @param dtypeBytes of rows that do not say
 * @throws ArgumentError ERR_OPTION naming the row and the field
 */
export function parseMeasured(json: unknown, where: string, dtypeBytes = 2): MeasuredRow[] {
  const rows = Array.isArray(json) ? json : objectOf(where, json).rows;
  if (!Array.isArray(rows) || rows.length === 0) {
    throw new ArgumentError(
      "ERR_OPTION",
      `${where} has no measured rows: give a list, or an object with one under \`rows\``,
    );
  }
  return rows.map((value, i) => row(`${where}: rows[${i}]`, value, dtypeBytes));
}

export const readMeasured = async (path: string, dtypeBytes?: number): Promise<MeasuredRow[]> =>
  parseMeasured(await readJson(path), path, dtypeBytes);
