/**
 * What a process of its own costs: time to the first token and from token to token of one engine, loaded both ways,
 * taking turns.
 *
 *     npm run bench:isolation -- [engine directory] [rounds]
 *
 * Times are taken in JavaScript, from the call to the token's arrival, so that both ways through the sockets are in
 * them. Without an engine, one of random weights is built.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildEngine, Engine, type Isolation } from "../lib/index.js";
import { percentile } from "../lib/report/statistics.js";

const contexts = [1, 128];
const outputTokens = 24;
const ways: readonly Isolation[] = ["none", "process"];

interface Samples {
  first: number[];
  next: number[];
}

async function generate(engine: Engine, context: number): Promise<{ first: number; next: number }> {
  const prompt = Array.from({ length: context }, (_, i) => (i * 7919 + 1) % engine.config.vocabSize);
  const options = { maxTokens: outputTokens, ignoreEos: true, temperature: 0 };
  const from = performance.now();
  let first = 0;
  for await (const _ of engine.generate(prompt, options)) first ||= performance.now();
  return { first: first - from, next: (performance.now() - first) / (outputTokens - 1) };
}

const [directory, rounds = "21"] = process.argv.slice(2);
const built = directory === undefined ? await mkdtemp(join(tmpdir(), "kraken-isolation-")) : undefined;
try {
  const path = directory ?? join(built!, "engine");
  if (built) await buildEngine({ random: "kraken-125m-2way", output: path, ranks: 2, dtype: "bfloat16" });
  const engines = new Map<Isolation, Engine>();
  for (const isolation of ways) {
    const options = { isolation, maxBatchSize: 1, prefixReuse: false, verify: false };
    engines.set(isolation, await Engine.load(path, options));
  }
  console.log(`${path.split("/").at(-1)}, ${outputTokens} tokens, medians of ${rounds} turns (quartiles)\n`);
  console.log("prompt  isolation  first token, ms        per token, ms");
  const room = engines.get("none")!.config.maxPositions - outputTokens;
  for (const context of contexts.filter((length) => length <= room)) {
    const samples = new Map<Isolation, Samples>(ways.map((way) => [way, { first: [], next: [] }]));
    for (let round = -1; round < Number(rounds); round++) {
      for (const way of round % 2 ? ways : ways.toReversed()) {
        const { first, next } = await generate(engines.get(way)!, context);
        if (round < 0) continue; // warms up
        samples.get(way)!.first.push(first);
        samples.get(way)!.next.push(next);
      }
    }
    for (const way of ways) {
      const shown = [samples.get(way)!.first, samples.get(way)!.next].map((values) => {
        const [low, median, high] = [25, 50, 75].map((p) => percentile(values, p).toFixed(3));
        return `${median} (${low}–${high})`.padEnd(23);
      });
      console.log(`${String(context).padStart(6)}  ${way.padEnd(9)}  ${shown.join("")}`);
    }
  }
  for (const engine of engines.values()) await engine.dispose();
} finally {
  if (built) await rm(built, { recursive: true, force: true });
}
