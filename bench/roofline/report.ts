/** The roofline's figures as people read them. */
import { bytes, milliseconds } from "../../lib/cli/output.js";
import type { Row } from "./measure.js";

/** What an engine took beside time. */
export interface EngineFigures {
  preset: string;
  dtype: string;
  ranks: number;
  communication: string;
  /** Loads of an engine that was loaded before, in ms: median. */
  loadMs: number;
  /** What the process grew by: loaded, and every cell run. */
  residentBytes: number;
  weightBytes: number;
  kvBytes: number;
  activationBytes: number;
  /** What a prompt length that was never used costs once. */
  firstCallExtraMs: number;
}

/** The longest ops first, those under 1 % left out. */
function ops(perOpMs: Record<string, number>): string {
  const total = Object.values(perOpMs).reduce((sum, ms) => sum + ms, 0);
  return Object.entries(perOpMs)
    .filter(([, ms]) => ms >= 0.01 * total)
    .map(([op, ms]) => `${op} ${ms.toFixed(ms < 10 ? 2 : 1)}`)
    .join(", ");
}

export function rowText(row: Row): string {
  const where = `${row.preset} ${row.dtype}, ${row.ranks} × ${row.threadsPerRank}, batch ${row.batch}, context ${row.context}`;
  const silent = row.communication === "none" ? ", communication none" : "";
  return (
    `${where}${silent}\n` +
    `  ${row.phase.padEnd(8)}${milliseconds(row.medianMs)} (engine ${milliseconds(row.engineMs)}), ` +
    `bound ${milliseconds(row.boundMs)}, ratio ${row.ratio.toFixed(3)}, ${row.tokensPerSecond.toFixed(0)} tokens/s\n` +
    `          ${ops(row.perOpMs)}\n`
  );
}

export function engineText(figures: EngineFigures): string {
  const allowed = 1.15 * figures.weightBytes + figures.kvBytes + 150 * 2 ** 20;
  const silent = figures.communication === "none" ? ", communication none" : "";
  return (
    `${figures.preset} ${figures.dtype}, ${figures.ranks} ranks${silent}: loads in ${milliseconds(figures.loadMs)}, ` +
    `a new prompt length costs ${milliseconds(figures.firstCallExtraMs)} once, ` +
    `memory ${bytes(figures.residentBytes)} (weights ${bytes(figures.weightBytes)}, ` +
    `keys and values ${bytes(figures.kvBytes)}; bound ${bytes(allowed)})\n`
  );
}
