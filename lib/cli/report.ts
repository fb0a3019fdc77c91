/** What a generation cost, in words. */
import type { Engine } from "../engine.js";
import type { GenerationResult } from "../generation.js";
import { bytes, milliseconds, modelLine, plural, table } from "./output.js";

/** "TTFT 11.9 ms, then 3.21 ms per token (312 tokens/s); 9 → 160 tokens, ended by length; seed 7". */
export function timingLine(result: GenerationResult): string {
  const { ttftMs, queueMs, decodeMsPerToken, totalMs } = result.timing;
  const tokens = (result.samples ?? [result]).reduce((sum, sample) => sum + sample.tokens.length, 0);
  const first = `TTFT ${milliseconds(ttftMs)}${queueMs >= 1 ? ` (queued ${milliseconds(queueMs)})` : ""}`;
  const then = Number.isNaN(decodeMsPerToken)
    ? ""
    : `, then ${milliseconds(decodeMsPerToken)} per token (${Math.round(1000 / decodeMsPerToken)} tokens/s)`;
  const reused = result.cachedTokens > 0 ? ` (${result.cachedTokens} reused)` : "";
  const reason =
    typeof result.stopReason === "string" ? `stop ${JSON.stringify(result.stopReason)}` : result.finishReason;
  return (
    `${first}${then}; ${result.promptTokens}${reused} → ${plural(tokens, "token")} in ${milliseconds(totalMs)}, ` +
    `ended by ${reason}; seed ${result.seed}`
  );
}

/** How the engine spent its time and memory. */
export function statsReport(engine: Engine): string {
  const { ranks, dtype, backend } = engine.manifest;
  const stats = engine.stats();
  const rows: [string, string][] = [
    ["engine", `${modelLine(engine.config)}; ${plural(ranks, "rank")}, ${dtype}, backend ${backend}`],
    ["steps", `${stats.steps} of ${milliseconds(stats.stepMsTotal / Math.max(1, stats.steps))} on average`],
  ];
  if (ranks > 1) {
    const waits = stats.exposedMs.map((ms, rank) => `rank ${rank} ${milliseconds(ms)}`).join(", ");
    rows.push(["waiting", `for other ranks: ${waits} of ${milliseconds(stats.stepMsTotal)}`]);
  }
  rows.push([
    "memory",
    `weights ${bytes(stats.weightBytes)}, key/value cache ${bytes(stats.kvBytes)} ` +
      `(${stats.kvBlocks * stats.kvBlockTokens} tokens), activations ${bytes(stats.activationBytes)}`,
  ]);
  if (stats.prefixHitTokens > 0) {
    rows.push(["reused", `${stats.prefixHitTokens} of ${plural(stats.prefixQueryTokens, "prompt token")}`]);
  }
  if (stats.preemptions > 0) rows.push(["preempted", plural(stats.preemptions, "time")]);
  return table(rows, "  ") + profileTable(stats.profileMs);
}

/** Milliseconds of each kind of op on each rank, the longest first; "" without a profile. */
export function profileTable(profileMs: readonly Record<string, number>[]): string {
  const total = (op: string) => profileMs.reduce((sum, times) => sum + (times[op] ?? 0), 0);
  const ops = [...new Set(profileMs.flatMap((times) => Object.keys(times)))].sort(
    (a, b) => total(b) - total(a),
  );
  if (ops.length === 0) return "";
  const width = Math.max(...ops.map((op) => op.length)) + 2;
  const line = (name: string, cells: string[]) =>
    `  ${name.padEnd(width)}${cells.map((cell) => cell.padStart(10)).join("")}\n`;
  const header = profileMs.map((_, rank) => `rank ${rank}`);
  const rows = ops.map((op) =>
    line(
      op,
      profileMs.map((times) => milliseconds(times[op] ?? 0)),
    ),
  );
  return line("", header) + rows.join("");
}
