/** An emulated link between ranks, as written in options: "10Gbit,20us". */
import { optionError } from "./options.js";
import { parseQuantity } from "./plan/units.js";

export interface Link {
  bytesPerSecond: number;
  latencySeconds: number;
}

/**
 * @returns undefined for "none" and undefined
 * @throws ArgumentError ERR_OPTION that shows how a link is written
 */
export function parseLink(link: unknown): Link | undefined {
  if (link === undefined || link === "none") return undefined;
  const parts = typeof link === "string" ? link.split(",") : [];
  if (parts.length !== 2) {
    throw optionError("link", '"none", or a bandwidth and a latency, as in "10Gbit,20us"', link);
  }
  return {
    bytesPerSecond: parseQuantity("link", parts[0], "bandwidth"),
    latencySeconds: parseQuantity("link", parts[1], "time"),
  };
}
