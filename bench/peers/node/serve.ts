/** The line protocol of a peer that runs in Node; python/serve.py is its twin, worker.ts the other end. */
import { createInterface } from "node:readline";

export interface Peer {
  versions: Record<string, string>;
  /** The first `count` tokens of the greedy continuation, as they come. */
  generate(prompt: readonly number[], count: number): AsyncIterable<number>;
  /** [2, vocabulary]: after the prompt, and one decode step later, after `token`. */
  logits(prompt: readonly number[], token: number): Promise<Float32Array>;
}

interface Generate {
  prompt: number[];
  count: number;
}

interface Logits {
  prompt: number[];
  token: number;
}

async function generate(peer: Peer, { prompt, count }: Generate) {
  const times = [performance.now()];
  const tokens: number[] = [];
  for await (const token of peer.generate(prompt, count)) {
    times.push(performance.now());
    tokens.push(token);
  }
  const [start, first] = times as [number, number];
  return {
    tokens,
    ttftMs: first - start,
    decodeMsPerToken: count > 1 ? (times.at(-1)! - first) / (count - 1) : null,
  };
}

async function logits(peer: Peer, { prompt, token }: Logits) {
  const rows = await peer.logits(prompt, token);
  return { float32: Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength).toString("base64") };
}

/** `load` makes the peer; it is the first request. Ends with its input. */
export async function serve<Parameters>(load: (parameters: Parameters) => Promise<Peer>): Promise<void> {
  let peer: Peer | undefined;
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: action, with: parameters } = JSON.parse(line);
    let reply: object;
    try {
      if (action === "load") {
        peer = await load(parameters);
        reply = { result: { versions: peer.versions } };
      } else {
        reply = { result: await (action === "generate" ? generate : logits)(peer!, parameters) };
      }
    } catch (error) {
      reply = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
  process.exit(0); // libraries keep threads of their own
}

/** Index of the largest. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
