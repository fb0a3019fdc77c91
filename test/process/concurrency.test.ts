/** Several engines and several worker threads in one process. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Worker } from "node:worker_threads";
import { Engine } from "../../lib/index.js";
import { buildTiny, library, workerPrelude } from "../helpers/child.js";

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-concurrency-"));
  engine = join(root, "tiny");
  await buildTiny(engine);
});
after(() => rm(root, { recursive: true, force: true }));

const greedy = { maxTokens: 24, temperature: 0, ignoreEos: true } as const;

test("several engines in one process give the same greedy tokens", async () => {
  const engines = await Promise.all([0, 1, 2].map(() => Engine.load(engine, { maxBatchSize: 2 })));
  const runs = engines.flatMap((e) => [e.generate([1, 2, 3], greedy), e.generate([9, 8], greedy)]);
  const tokens = (await Promise.all(runs)).map((r) => r.tokens.join());
  await Promise.all(engines.map((e) => e.dispose()));
  assert.equal(new Set(tokens.filter((_, i) => i % 2 === 0)).size, 1);
  assert.equal(new Set(tokens.filter((_, i) => i % 2 === 1)).size, 1);
});

test("tokens that come while JavaScript is busy arrive together, none lost, in order", async () => {
  await using loaded = await Engine.load(engine);
  const expected = await loaded.generate([4, 5], { ...greedy, maxTokens: 60 });
  const run = loaded.generate([4, 5], { ...greedy, maxTokens: 60 });
  const until = performance.now() + 300;
  while (performance.now() < until); // the executor goes on meanwhile
  assert.ok(loaded.stats().generatedTokens > 60);
  const tokens: number[] = [];
  for await (const { token } of run) tokens.push(token);
  assert.deepEqual(tokens, expected.tokens);
});

test("worker threads with an engine each give what the main thread's gives", async () => {
  await using mine = await Engine.load(engine);
  const expected = await mine.generate([1, 2, 3], greedy);
  const source = `${workerPrelude}
import { parentPort } from "node:worker_threads";
const { Engine } = await import(${JSON.stringify(library)});
for (let round = 0; round < 3; round++) {
  const engine = await Engine.load(${JSON.stringify(engine)});
  const { tokens } = await engine.generate([1, 2, 3], ${JSON.stringify(greedy)});
  parentPort.postMessage(tokens);
  if (round < 2) await engine.dispose();
}`;
  const tokens: number[][] = [];
  const work = [0, 1].map(
    () =>
      new Promise<void>((resolve, reject) => {
        const worker = new Worker(source, {
          eval: true,
          execArgv: ["--input-type=module"],
        });
        worker.on("message", (message: number[]) => tokens.push(message));
        worker.on("error", reject);
        worker.on("exit", (code) =>
          code === 0 ? resolve() : reject(new Error(`worker ended with ${code}`)),
        );
      }),
  );
  await Promise.all(work);
  assert.equal(tokens.length, 6);
  for (const theirs of tokens) assert.deepEqual(theirs, expected.tokens);
});
