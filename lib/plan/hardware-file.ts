/**
 * Hardware that no preset knows, from a JSON file. Every number carries its unit:
 *
 *     { "name": "two boxes", "compute": "50 TFLOP/s", "memoryBandwidth": "900 GB/s", "memory": "24 GB",
 *       "link": { "bandwidth": "10 Gbit/s", "latency": "20 us" } }
 */
import { readFile } from "node:fs/promises";
import { ArgumentError } from "../errors.js";
import { withIoErrors } from "../io-error.js";
import { checkKeys, optionError } from "../options.js";
import type { Hardware } from "./hardware.js";
import { parseQuantity, type QuantityKind } from "./units.js";

type Fields = Record<string, unknown>;

/** @throws RuntimeError ERR_IO, ArgumentError ERR_OPTION if it is no JSON */
export async function readJson(path: string): Promise<unknown> {
  const text = await withIoErrors(`read ${path}`, () => readFile(path, "utf8"));
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ArgumentError("ERR_OPTION", `${path} is not JSON: ${why}`, { cause: error });
  }
}

function quantity(where: string, fields: Fields, key: string, kind: QuantityKind): number {
  const name = `${where}: ${key}`;
  if (fields[key] === undefined) throw new ArgumentError("ERR_OPTION", `\`${name}\` is missing`);
  return parseQuantity(name, fields[key], kind);
}

/**
 * @param where names the file in messages
 * @throws ArgumentError ERR_OPTION naming the field: missing, unknown, without a unit or with one of another kind
 */
export function parseHardware(json: unknown, where: string): Hardware {
  checkKeys(where, json, ["name", "compute", "memoryBandwidth", "memory", "link"]);
  const fields = json as Fields;
  const { name = "hardware file", link } = fields;
  if (typeof name !== "string") throw optionError(`${where}: name`, "a string", name);
  if (link === undefined) throw new ArgumentError("ERR_OPTION", `\`${where}: link\` is missing`);
  checkKeys(`${where}: link`, link, ["name", "bandwidth", "latency"]);
  const linkFields = link as Fields;
  const linkName = linkFields.name ?? "its link";
  if (typeof linkName !== "string") throw optionError(`${where}: link.name`, "a string", linkName);
  return {
    name,
    flopsPerSecond: quantity(where, fields, "compute", "compute"),
    memoryBytesPerSecond: quantity(where, fields, "memoryBandwidth", "bandwidth"),
    memoryBytes: quantity(where, fields, "memory", "memory"),
    link: {
      name: linkName,
      bytesPerSecond: quantity(`${where}: link`, linkFields, "bandwidth", "bandwidth"),
      latencySeconds: quantity(`${where}: link`, linkFields, "latency", "time"),
    },
  };
}

export const readHardware = async (path: string): Promise<Hardware> =>
  parseHardware(await readJson(path), path);
