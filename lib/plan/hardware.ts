/**
 * Devices and links by name, with their published peak rates. A link's bandwidth counts one direction of one device.
 * Nobody publishes the latency of an all-reduce: the `latencySeconds` here are assumptions, meant to be replaced.
 */
import { ArgumentError } from "../errors.js";
import { closest, optionError } from "../options.js";
import { parseQuantity } from "./units.js";

export interface Link {
  name: string;
  /** What one device sends in one direction. */
  bytesPerSecond: number;
  /** What an all-reduce of no bytes takes, all its steps together. */
  latencySeconds: number;
}

export interface Hardware {
  name: string;
  /** Dense, of one device, in the dtype of the model. */
  flopsPerSecond: number;
  /** Device memory: HBM. */
  memoryBytesPerSecond: number;
  memoryBytes: number;
  link: Link;
}

/** The share of each peak rate that is reached, over 0 and at most 1. */
export interface Efficiencies {
  flop: number;
  link: number;
  hbm: number;
}

export const peak: Efficiencies = { flop: 1, link: 1, hbm: 1 };

const link = (name: string, gigabytes: number, microseconds: number): Link => ({
  name,
  bytesPerSecond: gigabytes * 1e9,
  latencySeconds: microseconds / 1e6,
});

const links: Record<string, Link> = {
  pcie4: link("PCIe 4.0 x16", 32, 20),
  pcie5: link("PCIe 5.0 x16", 64, 20),
  "1gbe": link("1 Gbit/s Ethernet", 0.125, 50),
  "10gbe": link("10 Gbit/s Ethernet", 1.25, 50),
  "25gbe": link("25 Gbit/s Ethernet", 3.125, 50),
  "100gbe": link("100 Gbit/s Ethernet", 12.5, 30),
  "400gbe": link("400 Gbit/s Ethernet", 50, 30),
};

const device = (
  name: string,
  teraflops: number,
  terabytesPerSecond: number,
  gigabytes: number,
  nvlinkGigabytes: number,
): Hardware => ({
  name,
  flopsPerSecond: teraflops * 1e12,
  memoryBytesPerSecond: terabytesPerSecond * 1e12,
  memoryBytes: gigabytes * 1e9,
  link: link("NVLink", nvlinkGigabytes, 10),
});

const devices: Record<string, Hardware> = {
  "a100-40gb": device("A100 40 GB SXM", 312, 1.555, 40, 300),
  "a100-80gb": device("A100 80 GB SXM", 312, 2.039, 80, 300),
  "h100-sxm": device("H100 SXM", 989, 3.35, 80, 450),
  "h200-sxm": device("H200 SXM", 989, 4.8, 141, 450),
  b200: device("B200", 2250, 8, 180, 900),
};

export const hardwareNames: readonly string[] = Object.keys(devices);
export const linkNames: readonly string[] = ["nvlink", ...Object.keys(links)];

function named<T>(kind: string, name: string, known: Record<string, T>, names: readonly string[]): T {
  const key = name.toLowerCase().replaceAll(/[\s_]/g, "-");
  if (Object.hasOwn(known, key)) return known[key]!;
  const meant = closest(name, names);
  const hint = meant ? `did you mean ${meant}?` : `known: ${names.join(", ")}`;
  throw new ArgumentError("ERR_OPTION", `unknown ${kind} ${JSON.stringify(name)}; ${hint}`);
}

/**
 * A device with its NVLink.
 * @throws ArgumentError ERR_OPTION for an unknown name, with the one probably meant
 */
export function hardwarePreset(name: string): Hardware {
  return structuredClone(named("hardware", name, devices, hardwareNames));
}

/**
 * A link by name (`nvlink` is the hardware's own), or by numbers: "10Gbit/s,20us".
 * @throws ArgumentError ERR_OPTION
 */
export function linkOf(text: string, own: Link): Link {
  if (text.includes(",")) {
    const [bandwidth, latency, ...more] = text.split(",");
    if (more.length > 0) throw optionError("link", 'bandwidth and latency, as in "10Gbit/s,20us"', text);
    return {
      name: text,
      bytesPerSecond: parseQuantity("link", bandwidth, "bandwidth"),
      latencySeconds: parseQuantity("link", latency, "time"),
    };
  }
  return { ...named("link", text, { nvlink: own, ...links }, linkNames) };
}
