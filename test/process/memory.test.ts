/**
 * Memory of whole processes, by the kernel's account: a build streams, an engine holds its weights once, and a load that
 * does not end well leaves nothing. Every child is Node with its TypeScript loader, about 90 MiB before it begins.
 */
import assert from "node:assert/strict";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { buildEngine } from "../../lib/index.js";
import { safetensorsFile } from "../helpers/checkpoints.js";
import { runScript } from "../helpers/child.js";

const skip =
  process.platform === "linux" ? false : "the peak of a process's memory is read from /proc/self/status";
const mebibyte = 2 ** 20;

/** In every child: MiB now and at the peak. */
const prelude = `
const { readFileSync } = await import("node:fs");
const { Engine, buildEngine } = await import(library);
const memory = (what) => Number(new RegExp(what + ":\\\\s+(\\\\d+)").exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
`;

async function measure<Result>(script: string, engine: string): Promise<Result> {
  const child = await runScript(prelude + script, { engine });
  assert.equal(child.code, 0, child.stderr);
  return JSON.parse(child.stdout);
}

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-memory-"));
  engine = join(root, "engine");
  if (!skip) await buildEngine({ random: "kraken-125m-2way", output: engine, ranks: 2, dtype: "bfloat16" });
});
after(() => rm(root, { recursive: true, force: true }));

/** A GPT-2 of 85M parameters, all zero: a file of 340 MB that takes no room on the disk. */
async function writeSparseCheckpoint(directory: string): Promise<{ largestBytes: number; bytes: number }> {
  const d = 768;
  const vocabulary = 2048;
  const layer = {
    "ln_1.weight": [d],
    "ln_1.bias": [d],
    "attn.c_attn.weight": [d, 3 * d],
    "attn.c_attn.bias": [3 * d],
    "attn.c_proj.weight": [d, d],
    "attn.c_proj.bias": [d],
    "ln_2.weight": [d],
    "ln_2.bias": [d],
    "mlp.c_fc.weight": [d, 4 * d],
    "mlp.c_fc.bias": [4 * d],
    "mlp.c_proj.weight": [4 * d, d],
    "mlp.c_proj.bias": [d],
  };
  const shapes: Record<string, number[]> = { "wte.weight": [vocabulary, d], "wpe.weight": [256, d] };
  for (let i = 0; i < 12; i++) {
    for (const [name, shape] of Object.entries(layer)) shapes[`h.${i}.${name}`] = shape;
  }
  Object.assign(shapes, { "ln_f.weight": [d], "ln_f.bias": [d] });
  const header: Record<string, unknown> = {};
  let bytes = 0;
  let largestBytes = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const size = 4 * shape.reduce((a, b) => a * b);
    header[name] = { dtype: "F32", shape, data_offsets: [bytes, bytes + size] };
    bytes += size;
    largestBytes = Math.max(largestBytes, size);
  }
  const start = safetensorsFile(header);
  const file = await open(join(directory, "model.safetensors"), "w");
  await file.write(start);
  await file.truncate(start.length + bytes);
  await file.close();
  const config = { model_type: "gpt2", n_embd: d, n_layer: 12, n_head: 12, n_positions: 256 };
  await writeFile(
    join(directory, "config.json"),
    JSON.stringify({
      ...config,
      vocab_size: vocabulary,
      layer_norm_epsilon: 1e-5,
      activation_function: "gelu_new",
    }),
  );
  return { largestBytes, bytes };
}

describe("memory", { skip }, () => {
  test("a build takes at most 1.2 of the largest tensor and 200 MB", async (t) => {
    const checkpoint = await mkdtemp(join(root, "checkpoint-"));
    const { largestBytes, bytes } = await writeSparseCheckpoint(checkpoint);
    const { peak } = await measure<{ peak: number }>(
      `await buildEngine({ checkpoint: ${JSON.stringify(checkpoint)}, output: engine + "-built", ranks: 2 });
console.log(JSON.stringify({ peak: memory("VmHWM") }));`,
      engine,
    );
    const allowed = (1.2 * largestBytes + 200e6) / mebibyte;
    const report = `peak of ${peak.toFixed(0)} MiB, ${allowed.toFixed(0)} allowed, for a checkpoint of ${(bytes / mebibyte).toFixed(0)} MiB`;
    t.diagnostic(report);
    assert.ok(bytes / mebibyte > allowed, "the checkpoint is too small to prove anything");
    assert.ok(peak <= allowed, report);
  });

  test("a running engine takes at most 1.15 of its weights, its cache and 150 MB", async (t) => {
    interface Figures {
      peak: number;
      weights: number;
      cache: number;
    }
    // As many tokens as there are positions touch every buffer, every block of the cache and most of the token table.
    const { peak, weights, cache } = await measure<Figures>(
      `const loaded = await Engine.load(engine, { maxBatchSize: 1, kvCacheTokens: 1024 });
const { vocabSize, maxPositions } = loaded.config;
for (let round = 0; round < 4; round++) {
  const prompt = Array.from({ length: maxPositions - 8 }, (_, i) => ((i + round * 1000) * 7919) % vocabSize);
  await loaded.generate(prompt, { maxTokens: 8, ignoreEos: true });
}
const { weightBytes, kvBytes } = loaded.stats();
console.log(JSON.stringify({ peak: memory("VmHWM"), weights: weightBytes / 2 ** 20, cache: kvBytes / 2 ** 20 }));`,
      engine,
    );
    const allowed = 1.15 * weights + cache + 150e6 / mebibyte;
    const report = `peak of ${peak.toFixed(0)} MiB, ${allowed.toFixed(0)} allowed: weights ${weights.toFixed(0)}, cache ${cache.toFixed(0)}`;
    t.diagnostic(report);
    assert.ok(peak <= allowed, report);
  });

  test("a load that is aborted or finds a changed file leaves no thread and no weights", async (t) => {
    interface Figures {
      before: number;
      after: number;
      reasons: string[];
      threads: string[];
    }
    const { before, after, reasons, threads } = await measure<Figures>(
      `const { open, readdir, readFile } = await import("node:fs/promises");
await (await Engine.load(engine)).dispose(); // whatever stays from a first load
const before = memory("VmRSS");
const reasons = [];
const failing = (signal) => Engine.load(engine, { signal }).then(() => reasons.push("loaded"), (error) => reasons.push(signal?.reason === error ? error.name : error.code));
for (const ms of [1, 20, 40, 60]) await failing(AbortSignal.timeout(ms));
const file = await open(engine + "/rank1.engine", "r+");
await file.write("damaged", (await file.stat()).size - 7);
await file.close();
await failing();
await failing();
const threads = [];
for (const id of await readdir("/proc/self/task")) threads.push((await readFile("/proc/self/task/" + id + "/comm", "utf8")).trim());
console.log(JSON.stringify({ before, after: memory("VmRSS"), reasons, threads }));`,
      engine,
    );
    t.diagnostic(`${before.toFixed(0)} MiB before, ${after.toFixed(0)} after: ${reasons.join(", ")}`);
    assert.deepEqual(reasons, [
      ...new Array(4).fill("TimeoutError"),
      "ERR_ENGINE_CORRUPT",
      "ERR_ENGINE_CORRUPT",
    ]);
    assert.deepEqual(
      threads.filter((name) => name.startsWith("kraken")),
      [],
    );
    assert.ok(after - before < 60, `${(after - before).toFixed(0)} MiB more than before`);
  });
});
