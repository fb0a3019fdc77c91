/**
 * The clients of bench:server, in a process of their own: keep-alive connections through node:http, and of each event no
 * more than what a client must look at.
 */
import { Agent, request } from "node:http";
import type { Answer, Task } from "./task.js";

const agent = new Agent({ keepAlive: true });

const promptOf = (length: number, seed: number, vocab: number) =>
  Array.from({ length }, (_, i) => (i * 7919 + seed * 104_729 + 1) % vocab);

/** Resolves with the milliseconds to the first token. */
function ask({ url, outputTokens, stream }: Task, prompt: number[]): Promise<number> {
  const body = JSON.stringify({
    prompt,
    max_tokens: outputTokens,
    ignore_eos: true,
    temperature: 0,
    stream,
    ...(stream && { stream_options: { include_usage: true } }),
  });
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const started = performance.now();
    const sent = request(`${url}/v1/completions`, { method: "POST", agent, headers }, (response) => {
      let first: number | undefined;
      let text = "";
      response.setEncoding("latin1");
      response.on("data", (data: string) => {
        first ??= performance.now();
        text += data;
      });
      response.on("end", () => {
        // Whatever was timed was all there.
        const complete = !stream || text.endsWith("data: [DONE]\n\n");
        if (
          response.statusCode !== 200 ||
          !complete ||
          !text.includes(`"completion_tokens":${outputTokens}`)
        ) {
          reject(new Error(`HTTP ${response.statusCode}: ${text.slice(-300)}`));
        } else {
          resolve(first! - started);
        }
      });
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

async function run(task: Task & { vocab: number }): Promise<Answer> {
  const ttftMs: number[] = [];
  const from = performance.now();
  const client = async (index: number) => {
    for (let r = 0; r < task.requests; r++) {
      const prompt = promptOf(task.promptTokens, task.seed + index + r * task.clients, task.vocab);
      ttftMs.push(await ask(task, prompt));
    }
  };
  await Promise.all(Array.from({ length: task.clients }, (_, index) => client(index)));
  const seconds = (performance.now() - from) / 1000;
  return { ttftMs, tokensPerSecond: (task.clients * task.requests * task.outputTokens) / seconds };
}

process.on("message", (task: Task & { vocab: number }) => {
  run(task).then(
    (answer) => process.send!(answer),
    (error: unknown) => process.send!({ error: String(error) }),
  );
});
