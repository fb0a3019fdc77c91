/** A hundred load/generate/dispose cycles keep within bounded memory. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { buildTiny, runScript } from "../helpers/child.js";

const cycles = 100;
/** Growth from cycle 20, when pools and code are warm, to the last. */
const allowedMiB = 32;

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-leak-"));
  engine = join(root, "tiny");
  await buildTiny(engine);
});
after(() => rm(root, { recursive: true, force: true }));

test(`${cycles} cycles of load, generate, dispose`, async (t) => {
  const script = `
const { Engine } = await import(library);
const mib = [];
for (let cycle = 1; cycle <= ${cycles}; cycle++) {
  const loaded = await Engine.load(engine);
  const run = loaded.generate([1, 2, 3, cycle], { maxTokens: 8, ignoreEos: true });
  if (cycle % 3 === 0) for await (const _ of run) break;
  else await run;
  if (cycle % 4 === 0) loaded.generate([5], { maxTokens: 50 });
  await loaded.dispose();
  if (cycle % 20 === 0) { globalThis.gc(); mib.push(process.memoryUsage().rss / 2 ** 20); }
}
console.log(JSON.stringify(mib));`;
  const result = await runScript(script, { engine, nodeOptions: ["--expose-gc"], limitSeconds: 300 });
  assert.equal(result.code, 0, result.stderr);
  const mib: number[] = JSON.parse(result.stdout);
  const growth = mib.at(-1)! - mib[0]!;
  const figures = mib.map((value, i) => `${(i + 1) * 20}: ${value.toFixed(1)}`).join(", ");
  const report = `resident MiB after cycle ${figures}; growth ${growth.toFixed(1)} of ${allowedMiB} allowed`;
  t.diagnostic(report);
  assert.ok(growth <= allowedMiB, report);
});
