/** Numbers and tables as people read them, and JSON as programs do. */
import { type Architecture, type ModelConfig, parameterCount, waysOf } from "../model-config.js";
import type { Output } from "./context.js";

/** One document, on one line unless a person reads it. NaN becomes null, a bigint beyond what JSON keeps a string. */
export function printJson(output: Output, value: unknown): void {
  const text = JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}` : v), output.isTTY ? 2 : 0);
  output.write(`${text}\n`);
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let unit = 0;
  let scaledValue = value;
  while (scaledValue >= base && unit < units.length - 1) {
    scaledValue /= base;
    unit++;
  }
  const text = unit === 0 ? String(scaledValue) : scaledValue.toPrecision(scaledValue < 1000 ? 3 : 4);
  return `${text} ${units[unit]}`.trim();
}

export const bytes = (value: number): string => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
export const count = (value: number): string => scaled(value, 1000, ["", "thousand", "million", "billion"]);
export const whole = (value: number): string => value.toLocaleString("en-US");

export function milliseconds(value: number): string {
  if (Number.isNaN(value)) return "–";
  if (value >= 1000) return `${(value / 1000).toPrecision(3)} s`;
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

/** "8 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds: number): string {
  const rounded = Math.round(seconds);
  const [h, min, s] = [Math.floor(rounded / 3600), Math.floor(rounded / 60) % 60, rounded % 60];
  if (h > 0) return `${h} h ${min} min`;
  return min > 0 ? `${min} min ${s} s` : `${s} s`;
}

/** "1 rank", "2 ranks". */
export const plural = (n: number, noun: string): string => `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;

/** Name and value in two columns; a value of several lines stays in its column. */
export function table(rows: readonly (readonly [string, string])[], indent = ""): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return rows
    .map(([name, value]) => {
      const [first, ...more] = value.split("\n");
      const lines = [`${name.padEnd(width)}${first}`, ...more.map((line) => `${" ".repeat(width)}${line}`)];
      return lines.map((line) => `${indent}${line.trimEnd()}\n`).join("");
    })
    .join("");
}

const kinds: Record<Architecture, string> = {
  kraken: "Kraken",
  gpt: "standard transformer",
  parallel: "parallel attention and MLP",
  ladder: "Ladder-Residual",
};

/** "Kraken, 2 ways, 6 layers, 5.6 million parameters". */
export function modelLine(config: ModelConfig): string {
  const ways = config.architecture === "kraken" ? [plural(waysOf(config), "way")] : [];
  const parameters = `${count(parameterCount(config))} parameters`;
  return [kinds[config.architecture], ...ways, plural(config.layers, "layer"), parameters].join(", ");
}
