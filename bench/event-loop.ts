/**
 * How long generating holds up Node's event loop, at worst.
 *
 *     npx tsx bench/event-loop.ts [engine directory] [requests] [tokens]
 *
 * Two figures. The delay is what a 1 ms timer sees; where the ranks keep all cores busy it contains the time the
 * operating system gave to them. The longest turn is the processor time that this thread used from one turn of the
 * event loop to the next, which is what the engine is answerable for: at most 20 ms.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { buildEngine, Engine } from "../lib/index.js";

export interface EventLoopFigures {
  tokens: number;
  seconds: number;
  /** Delay of a 1 ms timer. */
  p99Ms: number;
  worstMs: number;
  /** Most processor time of this thread in one turn; where the system doesn't tell, most wall time outside of waiting. */
  ownMs: number;
}

/** Milliseconds of work of this thread so far. */
function threadClock(): { read(): number; close(): void } {
  try {
    const file = openSync("/proc/thread-self/schedstat", "r");
    const buffer = Buffer.alloc(64);
    const read = () =>
      Number.parseInt(buffer.toString("latin1", 0, readSync(file, buffer, 0, 64, 0)), 10) / 1e6;
    return { read, close: () => closeSync(file) };
  } catch {
    return { read: () => performance.eventLoopUtilization().active, close: () => {} };
  }
}

export async function measureEventLoop(
  engine: Engine,
  { requests, maxTokens }: { requests: number; maxTokens: number },
): Promise<EventLoopFigures> {
  const work = (tokens: number) =>
    Promise.all(
      Array.from({ length: requests }, async (_, i) => {
        for (let turn = 0; turn < i; turn++) await new Promise(setImmediate); // requests arrive one by one
        const options = { maxTokens: 1 + ((i * 7) % tokens), ignoreEos: true, logprobs: 2, seed: i };
        let count = 0;
        for await (const _ of engine.generate([1 + (i % 50), 2, 3], options)) count++;
        return count;
      }),
    );
  await work(8); // V8 compiling this code for the first time is not what is measured
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const clock = threadClock();
  let ownMs = 0;
  let last = clock.read();
  const turn = () => {
    const now = clock.read();
    ownMs = Math.max(ownMs, now - last);
    last = now;
  };
  const timer = setInterval(turn, 1);
  delay.enable();
  const started = performance.now();
  const counts = await work(maxTokens);
  const seconds = (performance.now() - started) / 1000;
  delay.disable();
  clearInterval(timer);
  turn();
  clock.close();
  return {
    tokens: counts.reduce((a, b) => a + b, 0),
    seconds,
    p99Ms: delay.percentile(99) / 1e6,
    worstMs: delay.max / 1e6,
    ownMs,
  };
}

async function main([directory, requests = "64", maxTokens = "64"]: string[]): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "kraken-event-loop-"));
  try {
    const path = directory ?? join(root, "engine");
    if (!directory) await buildEngine({ random: "kraken-tiny-2way", ranks: 2, output: path });
    await using engine = await Engine.load(path, { maxBatchSize: 16, prefixReuse: false });
    const figures = await measureEventLoop(engine, {
      requests: Number(requests),
      maxTokens: Number(maxTokens),
    });
    const { tokens, seconds, p99Ms, worstMs, ownMs } = figures;
    console.log(
      `${requests} requests, ${tokens} tokens in ${seconds.toFixed(2)} s: event loop delay p99 ${p99Ms.toFixed(1)} ms, ` +
        `worst ${worstMs.toFixed(1)} ms; longest turn ${ownMs.toFixed(1)} ms (at most 20)`,
    );
    if (ownMs > 20) process.exitCode = 1;
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
