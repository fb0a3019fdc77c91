/**
 * The clients of bench:server, in a process of their own. They share the machine with what they measure, so they do no
 * more than a client must: bytes on keep-alive connections, read into one buffer, of which the end says whether all of an
 * answer is there.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Answer, Task } from "./task.js";

class Connection {
  readonly socket: Socket;
  #tail = "";
  #first: number | undefined;
  #answered: ((ttft: number) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  #started = 0;
  #expected = "";
  #end = "";

  constructor(port: number) {
    const buffer = Buffer.allocUnsafe(64 << 10);
    this.socket = connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      onread: {
        buffer,
        callback: (length) => {
          this.#read(buffer.toString("latin1", Math.max(0, length - 700), length));
          return true;
        },
      },
    });
    this.socket.on("close", () => this.#failed?.(new Error(`the connection ended after ${this.#tail}`)));
  }

  /** Resolves with the milliseconds to the first bytes of the answer. */
  ask({ outputTokens, stream }: Task, prompt: number[]): Promise<number> {
    const body = JSON.stringify({
      prompt,
      max_tokens: outputTokens,
      ignore_eos: true,
      temperature: 0,
      stream,
      ...(stream && { stream_options: { include_usage: true } }),
    });
    this.#end = stream ? "\r\n0\r\n\r\n" : "}}";
    this.#expected = `"completion_tokens":${outputTokens}`;
    this.#first = undefined;
    this.#tail = "";
    return new Promise((resolve, reject) => {
      this.#answered = resolve;
      this.#failed = reject;
      this.#started = performance.now();
      this.socket.write(
        `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
    });
  }

  #read(text: string): void {
    this.#first ??= performance.now();
    if (this.#tail === "" && !text.startsWith("HTTP/1.1 200") && text.startsWith("HTTP/1.1")) {
      this.#failed!(new Error(text));
    }
    this.#tail = (this.#tail + text).slice(-700);
    if (!this.#tail.endsWith(this.#end)) return;
    if (this.#tail.includes(this.#expected)) this.#answered!(this.#first - this.#started);
    else this.#failed!(new Error(this.#tail));
  }
}

const connections: Connection[] = [];
const promptOf = (length: number, seed: number, vocab: number) =>
  Array.from({ length }, (_, i) => (i * 7919 + seed * 104_729 + 1) % vocab);

async function run(task: Task & { vocab: number }): Promise<Answer> {
  while (connections.length < task.clients) {
    const connection = new Connection(Number(new URL(task.url).port));
    await once(connection.socket, "connect");
    connections.push(connection);
  }
  const ttftMs: number[] = [];
  const from = performance.now();
  const client = async (connection: Connection, index: number) => {
    for (let r = 0; r < task.requests; r++) {
      const prompt = promptOf(task.promptTokens, task.seed + index + r * task.clients, task.vocab);
      ttftMs.push(await connection.ask(task, prompt));
    }
  };
  await Promise.all(connections.slice(0, task.clients).map(client));
  const seconds = (performance.now() - from) / 1000;
  return { ttftMs, tokensPerSecond: (task.clients * task.requests * task.outputTokens) / seconds };
}

process.on("message", (task: Task & { vocab: number }) => {
  run(task).then(
    (answer) => process.send!(answer),
    (error: unknown) => process.send!({ error: String(error) }),
  );
});
