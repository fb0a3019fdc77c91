/**
 * Fits the three efficiencies to measured times: least squares of log(predicted / measured), so that a cell of 5 ms
 * counts as much as one of 5 s. The maxima in the model make the error flat and kinked in places, so nothing follows
 * gradients: a grid over the bounds, then finer and finer ones around its best points.
 */
import { predictTtft, type TtftQuestion } from "./cost-model.js";
import type { Efficiencies, Hardware } from "./hardware.js";

export type MeasuredRow = Omit<TtftQuestion, "hardware" | "efficiencies"> & { medianMs: number };

export interface Calibration {
  /** 1 for those that no row depends on. */
  efficiencies: Efficiencies;
  /** √mean(log(predicted / measured)²): 0.05 is about 5 %. */
  rmsError: number;
  /** Whether the rows say anything about it: a run on one rank knows nothing of the link. */
  determined: Record<keyof Efficiencies, boolean>;
  /** Efficiencies that the bounds stopped: then the hardware is not the one that was measured. */
  atBound: (keyof Efficiencies)[];
  /** Predicted over measured, row by row. */
  ratios: number[];
}

const keys = ["flop", "link", "hbm"] as const;
/** Of each efficiency. */
const lowest = 0.001;
const coarse = 13;
const starts = 6;
const rounds = 26;

/** Points in log space: [log flop, log link, log hbm]. */
type Point = readonly [number, number, number];

const efficienciesAt = ([flop, link, hbm]: Point): Efficiencies => ({
  flop: Math.exp(flop),
  link: Math.exp(link),
  hbm: Math.exp(hbm),
});
const perKey = <T>(value: (key: keyof Efficiencies, index: number) => T): Record<keyof Efficiencies, T> => ({
  flop: value("flop", 0),
  link: value("link", 1),
  hbm: value("hbm", 2),
});
const within = (value: number) => Math.min(0, Math.max(Math.log(lowest), value));

function* cube(center: Point, reach: number, perSide: number): Generator<Point> {
  const offset = (i: number) => reach * ((2 * i) / (perSide - 1) - 1);
  for (let i = 0; i < perSide; i++)
    for (let j = 0; j < perSide; j++)
      for (let k = 0; k < perSide; k++)
        yield [within(center[0] + offset(i)), within(center[1] + offset(j)), within(center[2] + offset(k))];
}

/** @throws ArgumentError ERR_OPTION or ERR_RANKS for a row that the model cannot predict */
export function calibrate(rows: readonly MeasuredRow[], hardware: Hardware): Calibration {
  const ratiosAt = (point: Point) => {
    const efficiencies = efficienciesAt(point);
    return rows.map((row) => predictTtft({ ...row, hardware, efficiencies }).ttftMs / row.medianMs);
  };
  const errorAt = (point: Point) =>
    ratiosAt(point).reduce((sum, ratio) => sum + Math.log(ratio) ** 2, 0) / rows.length;

  const half = -Math.log(lowest) / 2;
  const grid = [...cube([-half, -half, -half], half, coarse)].map((point) => ({
    point,
    error: errorAt(point),
  }));
  grid.sort((a, b) => a.error - b.error);
  let best = grid[0]!;
  for (let start of grid.slice(0, starts)) {
    let reach = (2 * half) / (coarse - 1);
    for (let round = 0; round < rounds; round++) {
      const before = start.error;
      for (const point of cube(start.point, reach, 3)) {
        const error = errorAt(point);
        if (error < start.error) start = { point, error };
      }
      if (start.error > before * 0.9) reach /= 2; // stay as long as the steps still help
    }
    if (start.error < best.error) best = start;
  }

  const moved = (key: number, by: number) => {
    const point = best.point.map((value, i) => (i === key ? within(value + by) : value));
    return Math.abs(errorAt(point as unknown as Point) - best.error);
  };
  const determined = perKey((_, i) => Math.max(moved(i, 0.3), moved(i, -0.3)) > 1e-6);
  const fitted = efficienciesAt(best.point);
  const efficiencies = perKey((key) => (determined[key] ? fitted[key] : 1));
  return {
    efficiencies,
    rmsError: Math.sqrt(best.error),
    determined,
    atBound: keys.filter((key) => determined[key] && (fitted[key] > 0.999 || fitted[key] < 1.01 * lowest)),
    ratios: ratiosAt(best.point),
  };
}
