/** test/gpu/engines.ts, on backend cpu: what it compares passes, what differs fails, what it has no time for is said. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { native } from "../../lib/native.js";

const root = join(import.meta.dirname, "..", "..");
const work = mkdtempSync(join(tmpdir(), "kraken-gpu-engines-test-"));
after(() => rmSync(work, { recursive: true, force: true }));

function engines(...args: string[]) {
  const program = ["--import", "tsx", join("test", "gpu", "engines.ts"), ...args];
  const env = { ...process.env, TMPDIR: work };
  return spawnSync(process.execPath, program, { cwd: root, env, encoding: "utf8" });
}

test("engines are compared and timed, and added to what the kernels' tests found", () => {
  const json = join(work, "gpu.json");
  const figures = [{ name: "copy", value: 1, unit: "GB/s" }];
  const before = { name: "norm", checks: 3, failed: 0, tolerance_used: 0.5, seconds: 1 };
  writeFileSync(
    json,
    JSON.stringify({ device: "a GPU", passed: true, running: null, checks: [before], figures }),
  );
  const ran = engines("--backend", "cpu", "--small", "--json", json);
  assert.equal(ran.status, 0, ran.stdout + ran.stderr);
  assert.equal(ran.stdout.match(/^ok /gm)?.length, 15);
  const document = JSON.parse(readFileSync(json, "utf8"));
  assert.deepEqual([document.device, document.passed, document.running], ["a GPU", true, null]);
  assert.deepEqual(document.checks[0], before);
  assert.equal(document.checks.length, 16);
  // In float32 the logits, four prompts and seven ways to sample, in 16 bits the logits: of 1 rank, 2 and 2 processes. Then
  // each engine that was timed, on 2 ranks and on 1.
  const counts = document.checks.slice(1).map(({ checks }: { checks: number }) => checks);
  assert.deepEqual(counts, [12, 12, 12, 1, 1, 1, 1, 12, 12, 12, 1, 1, 1, 1, 4]);
  const names = document.figures.map(({ name }: { name: string }) => name);
  assert.ok(names.includes("TTFT kraken-tiny-2way, bfloat16, 2 ranks, context 16"), names.join("\n"));
  assert.ok(names.includes("TTFT gpt-tiny, bfloat16, 2 ranks, context 16"), names.join("\n"));
  assert.ok(document.figures.every(({ value }: { value: number }) => value > 0));
});

test("another model's numbers fail every comparison", () => {
  const json = join(work, "wrong.json");
  const ran = engines("--backend", "cpu", "--small", "--other-weights", "--json", json);
  assert.equal(ran.status, 1, ran.stdout + ran.stderr);
  assert.equal(ran.stdout.match(/^FAILED engine, /gm)?.length, 14);
  assert.match(ran.stdout, /^ {2}FAILED logits, float32: [\d.]+, allowed 0.00002$/m);
  assert.match(ran.stdout, /^engines FAILED: 14 groups run, 80 checks failed/m);
  assert.equal(JSON.parse(readFileSync(json, "utf8")).passed, false);
});

test("without time nothing is tried, and all of it is named", () => {
  const ran = engines("--backend", "cpu", "--seconds", "0");
  assert.equal(ran.status, 0, ran.stderr);
  assert.equal(ran.stdout.match(/^ {2}no time for: /gm)?.length, 15);
});

test("a backend that does not run here says why", () => {
  const { available, reason } = native().capabilities().backends.tensorrt!;
  assert.equal(engines("--missing").stdout.trim(), available ? "" : reason);
  assert.equal(engines("--backend", "cpu", "--missing").stdout, "");
  assert.match(engines("--backend", "gpu").stdout, /^there is no backend gpu$/m);
});
