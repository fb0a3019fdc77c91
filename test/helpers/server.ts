/** A server in front of a tiny engine, or of a fake one, and ways to speak with it. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { Engine } from "../../lib/engine.js";
import type { LoadOptions } from "../../lib/engine-options.js";
import { createServer, type KrakenServer, type ServerOptions } from "../../lib/server/index.js";
import { buildTiny } from "./child.js";
import { type FakeExecutor, fakeEngine } from "./fake-executor.js";

export interface Served extends AsyncDisposable {
  server: KrakenServer;
  url: string;
  port: number;
  /** Lines of the log, parsed. */
  log: Record<string, unknown>[];
}

export async function serve(engine: Engine, options: ServerOptions = {}): Promise<Served> {
  const log: Record<string, unknown>[] = [];
  const server = await createServer(engine, {
    logStream: { write: (line: string) => log.push(JSON.parse(line)) },
    ...options,
  });
  const url = await server.listen({ port: 0 });
  return {
    server,
    url,
    port: Number(new URL(url).port),
    log,
    async [Symbol.asyncDispose]() {
      await server.close({ now: true });
      await engine.dispose();
    },
  };
}

/** A directory with the tiny engine in it, removed at the end. */
export async function tinyEngine(): Promise<{ directory: string } & AsyncDisposable> {
  const root = await mkdtemp(join(tmpdir(), "kraken-server-"));
  const directory = join(root, "tiny");
  await buildTiny(directory);
  return { directory, [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) };
}

export const serveTiny = async (
  directory: string,
  options: ServerOptions = {},
  load: LoadOptions = {},
): Promise<Served & { engine: Engine }> => {
  const engine = await Engine.load(directory, load);
  return Object.assign(await serve(engine, options), { engine });
};

/** Over an engine whose tokens come when the test says so. */
export async function serveFake(options: ServerOptions = {}): Promise<Served & { executor: FakeExecutor }> {
  const { engine, executor } = fakeEngine();
  return Object.assign(await serve(engine, options), { executor });
}

export const openai = (url: string, options: ConstructorParameters<typeof OpenAI>[0] = {}): OpenAI =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, ...options });

export const post = (url: string, body: unknown, init: RequestInit = {}): Promise<Response> =>
  fetch(url, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
    headers: { "content-type": "application/json", ...init.headers },
  });

/** The `data` of a stream's events, comments left out. */
export async function events(response: Response): Promise<string[]> {
  const text = await response.text();
  return text
    .split("\n\n")
    .filter((event) => event.startsWith("data: "))
    .map((event) => event.slice(6));
}

/** A connection for what no client would send. */
export async function dial(port: number): Promise<{
  socket: Socket;
  received: () => string;
  /** Resolves when the text has come; fails when the connection ends before. */
  until(text: string | RegExp): Promise<string>;
  closed: Promise<unknown>;
}> {
  const socket = connect(port, "127.0.0.1");
  socket.setEncoding("utf8");
  let text = "";
  socket.on("data", (data: string) => {
    text += data;
  });
  socket.on("error", () => {});
  const closed = once(socket, "close");
  await once(socket, "connect");
  return {
    socket,
    received: () => text,
    async until(wanted) {
      while (typeof wanted === "string" ? !text.includes(wanted) : !wanted.test(text)) {
        const ended = await Promise.race([once(socket, "data").then(() => false), closed.then(() => true)]);
        if (ended) throw new Error(`the connection ended after ${JSON.stringify(text)}`);
      }
      return text;
    },
    closed,
  };
}

/** The bytes of a request. */
export const rawPost = (path: string, body: object): string => {
  const text = JSON.stringify(body);
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
};

/** Waits until it holds, at most that long. */
export async function eventually(holds: () => boolean, ms = 2000): Promise<void> {
  for (const until = performance.now() + ms; !holds(); ) {
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
