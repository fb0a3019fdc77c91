/** Numbers with units, as in "312 TFLOP/s": a unit left out or of the wrong kind is an error, never a guess. */
import { optionError } from "../options.js";

const prefixes = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
const binary = { Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3, Ti: 1024 ** 4 };

/** Every prefix in front of `unit`, each worth `scale` times what it stands for. */
function scaled(units: readonly string[], scale: number, known: Record<string, number> = prefixes) {
  return units.flatMap((unit) =>
    Object.entries(known).map(([prefix, factor]): [string, number] => [prefix + unit, factor * scale]),
  );
}

const kinds = {
  compute: {
    expected: 'a rate of operations, as in "312 TFLOP/s"',
    units: new Map(scaled(["FLOP/s", "FLOPS"], 1)),
  },
  bandwidth: {
    expected: 'bytes or bits per second, as in "300 GB/s" or "10 Gbit/s"',
    units: new Map([
      ...scaled(["B/s"], 1),
      ...scaled(["B/s"], 1, binary),
      ...scaled(["bit/s", "bps", "bit"], 1 / 8),
    ]),
  },
  memory: {
    expected: 'an amount of memory, as in "40 GB"',
    units: new Map([...scaled(["B"], 1), ...scaled(["B"], 1, binary)]),
  },
  time: {
    expected: 'a time, as in "10 us"',
    units: new Map([
      ["ns", 1e-9],
      ["us", 1e-6],
      ["µs", 1e-6],
      ["ms", 1e-3],
      ["s", 1],
    ]),
  },
};

export type QuantityKind = keyof typeof kinds;

/**
 * The number in base units: operations, bytes or seconds. A time may be 0, nothing else.
 * @throws ArgumentError ERR_OPTION naming `name`, the units that are known and what was given
 */
export function parseQuantity(name: string, value: unknown, kind: QuantityKind): number {
  const { expected, units } = kinds[kind];
  const [, digits, unit] =
    (typeof value === "string" && /^\s*([\d.]+(?:e[+-]?\d+)?)\s*(\S*)\s*$/i.exec(value)) || [];
  const amount = Number(digits);
  const factor = units.get(unit ?? "");
  if (factor === undefined || !Number.isFinite(amount) || !(amount > 0 || kind === "time")) {
    throw optionError(name, expected, value);
  }
  return factor < 1 ? amount / Math.round(1 / factor) : amount * factor; // 20 us is exactly 20 / 1e6
}
