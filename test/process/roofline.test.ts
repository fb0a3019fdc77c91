/** The roofline benchmark as people run it, on a model so small that its figures mean nothing. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import type { Row } from "../../bench/roofline/measure.js";
import type { EngineFigures } from "../../bench/roofline/report.js";

const roofline = (...args: string[]) =>
  promisify(execFile)(process.execPath, ["--import", "tsx", "bench/roofline.ts", ...args]);

const cells =
  "--presets kraken-tiny-2way --contexts 8,32 --batches 1,2 --communication overlapped,none --rounds 3";

test("bench:roofline --json", async () => {
  const { stdout } = await roofline("--json", ...cells.split(" "));
  const { rows, engines } = JSON.parse(stdout) as { rows: Row[]; engines: EngineFigures[] };
  assert.equal(rows.length, 2 * 2 * 2 * 2); // communication, batch, context, phase
  for (const row of rows) {
    const { phase, medianMs, engineMs, boundMs, ratio, perOpMs, samplesMs, batch, context } = row;
    assert.equal(samplesMs.length, 3);
    // Steps this short may all be over before the first token is seen: nothing is left for decoding then.
    assert.ok(medianMs > 0 && boundMs > 0 && (phase === "prefill" ? engineMs > 0 : engineMs >= 0));
    assert.equal(ratio, boundMs / medianMs);
    const tokens = phase === "prefill" ? batch * context : batch;
    assert.ok(Math.abs(row.tokensPerSecond - (1000 * tokens) / medianMs) < 1e-6);
    if (phase === "decode") continue;
    for (const op of ["embed", "attn.qkv", "attention", "mlp.up", "head"]) assert.ok(perOpMs[op]! >= 0, op);
  }
  assert.deepEqual(
    engines.map((engine) => engine.communication),
    ["overlapped", "none"],
  );
  for (const { loadMs, weightBytes, kvBytes } of engines)
    assert.ok(loadMs > 0 && weightBytes > 0 && kvBytes > 0);
});

test("bench:roofline as text", async () => {
  const small = ["--presets", "gpt-tiny", "--contexts", "16", "--rounds", "1"];
  const { stdout } = await roofline(...small);
  assert.match(
    stdout,
    /gpt-tiny bfloat16, 2 × 1, batch 1, context 16\n {2}prefill .* ratio \d\.\d{3}, \d+ tokens\/s\n/,
  );
  assert.match(stdout, /loads in .*a new prompt length costs .*memory .*weights .*bound/);
});

test("bench:roofline refuses what it cannot measure", async () => {
  await assert.rejects(roofline("--presets", "kraken-tiny-3way"), {
    message: /ERR_OPTION.*kraken-tiny-2way/s,
  });
  await assert.rejects(roofline("--contexts", "8,many"), { message: /`contexts` must be .*many/ });
});
