/**
 * What the server costs: one engine asked directly, and through HTTP by clients in a process of their own, taking turns.
 *
 *     npm run -s bench:server -- [engine directory] [rounds]
 *
 * Both sides do the same: stream the same prompts greedily, and stop their clocks where the caller has a token. The
 * clients' process runs on the same cores, so what it costs to read 32 streams counts against the server. Without an
 * engine, one of random weights is built.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildEngine, Engine } from "../lib/index.js";
import { median, percentile } from "../lib/report/statistics.js";
import { createServer } from "../lib/server/index.js";
import type { Answer, Task } from "./server/task.js";

const single: Omit<Task, "url" | "stream" | "seed"> = {
  clients: 1,
  requests: 1,
  promptTokens: 128,
  outputTokens: 8,
};
const many: Omit<Task, "url" | "stream" | "seed"> = {
  clients: 32,
  requests: 1,
  promptTokens: 32,
  outputTokens: 96,
};

/** Turns that don't count, until the code is compiled. */
const warmUps = 10;

const prompt = (length: number, seed: number, vocab: number) =>
  Array.from({ length }, (_, i) => (i * 7919 + seed * 104_729 + 1) % vocab);

/** The task without a server between. */
async function direct(engine: Engine, task: Omit<Task, "url" | "stream">): Promise<Answer> {
  const ttftMs: number[] = [];
  const from = performance.now();
  const client = async (index: number) => {
    for (let r = 0; r < task.requests; r++) {
      const ids = prompt(task.promptTokens, task.seed + index + r * task.clients, engine.config.vocabSize);
      const started = performance.now();
      let first: number | undefined;
      const options = { maxTokens: task.outputTokens, ignoreEos: true, temperature: 0 };
      for await (const _ of engine.generate(ids, options)) first ??= performance.now();
      ttftMs.push(first! - started);
    }
  };
  await Promise.all(Array.from({ length: task.clients }, (_, index) => client(index)));
  const seconds = (performance.now() - from) / 1000;
  return { ttftMs, tokensPerSecond: (task.clients * task.requests * task.outputTokens) / seconds };
}

const [directory, rounds = "41"] = process.argv.slice(2);
const built = directory === undefined ? await mkdtemp(join(tmpdir(), "kraken-server-")) : undefined;
const clients = fork(fileURLToPath(new URL("./server/clients.ts", import.meta.url)), [], {
  execArgv: ["--import", "tsx"],
});
try {
  const path = directory ?? join(built!, "kraken-125m-2way");
  if (built) await buildEngine({ random: "kraken-125m-2way", output: path, ranks: 2, dtype: "bfloat16" });
  await using engine = await Engine.load(path, { maxBatchSize: 32, prefixReuse: false, verify: false });
  await using server = await createServer(engine, { logLevel: "silent" });
  const url = await server.listen({ port: 0 });
  const overHttp = async (task: Omit<Task, "url">): Promise<Answer> => {
    clients.send({ ...task, url, vocab: engine.config.vocabSize });
    const [answer] = (await once(clients, "message")) as [Answer & { error?: string }];
    if (answer.error) throw new Error(answer.error);
    return answer;
  };

  const ways = {
    direct: (task: Omit<Task, "url" | "stream">) => direct(engine, task),
    "HTTP, streamed": (task: Omit<Task, "url" | "stream">) => overHttp({ ...task, stream: true }),
    "HTTP, whole": (task: Omit<Task, "url" | "stream">) => overHttp({ ...task, stream: false }),
  };
  type Way = keyof typeof ways;
  const names = Object.keys(ways) as Way[];
  const samples = (): Record<Way, number[]> => ({ direct: [], "HTTP, streamed": [], "HTTP, whole": [] });
  const [ttft, throughput] = [samples(), samples()];
  for (let round = -warmUps; round < Number(rounds); round++) {
    for (const name of round % 2 ? names : names.toReversed()) {
      // The first token of an answer that comes whole is no first token.
      const [one] =
        name === "HTTP, whole" ? [] : (await ways[name]({ ...single, seed: round + warmUps })).ttftMs;
      if (one !== undefined && round >= 0) ttft[name].push(one);
    }
  }
  for (let round = -1; round < Math.ceil(Number(rounds) / 4); round++) {
    for (const name of round % 2 ? names : names.toReversed()) {
      const { tokensPerSecond } = await ways[name]({ ...many, seed: round + 2 });
      if (round >= 0) throughput[name].push(tokensPerSecond);
    }
  }

  const quartiles = (values: readonly number[], digits: number) => {
    const [low, middle, high] = [25, 50, 75].map((p) => percentile(values, p).toFixed(digits));
    return `${middle} (${low}–${high})`;
  };
  console.log(
    `${engine.directory.split("/").at(-1)}, ${engine.manifest.dtype}, ${engine.manifest.ranks} ranks; medians (quartiles)\n`,
  );
  console.log(`1 client, first token after ${single.promptTokens}, ms, ${ttft.direct.length} turns`);
  for (const name of ["direct", "HTTP, streamed"] as const) {
    console.log(`  ${name.padEnd(16)}${quartiles(ttft[name], 2)}`);
  }
  const added = median(ttft["HTTP, streamed"]) - median(ttft.direct);
  console.log(`  the server adds ${added.toFixed(2)} ms at p50\n`);
  console.log(
    `${many.clients} clients, ${many.promptTokens} → ${many.outputTokens} tokens each, tokens/s, ${throughput.direct.length} turns`,
  );
  for (const name of names) {
    const share =
      name === "direct"
        ? ""
        : `, ${(100 * ratio(throughput[name], throughput.direct)).toFixed(1)} % of direct`;
    console.log(`  ${name.padEnd(16)}${quartiles(throughput[name], 0)}${share}`);
  }
} finally {
  clients.kill();
  if (built) await rm(built, { recursive: true, force: true });
}

/** Of neighbours in time: the machine's pace drifts. */
function ratio(values: readonly number[], base: readonly number[]): number {
  return median(values.map((value, i) => value / base[i]!));
}
