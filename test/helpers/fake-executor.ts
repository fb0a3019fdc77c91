/** A NativeExecutor in TypeScript that says what a test tells it to, and an Engine over it. */
import { Engine } from "../../lib/engine.js";
import type { EngineManifest } from "../../lib/engine-directory.js";
import type { NativeExecutor, NativeRequest, NativeResponse, NativeStats } from "../../lib/native.js";
import { RequestTable } from "../../lib/requests.js";
import { byteTokenizer } from "../../lib/tokenizer/bytes.js";
import type { Tokenizer } from "../../lib/tokenizer.js";

export const tinyManifest: EngineManifest = {
  format: "kraken-engine",
  formatVersion: 1,
  createdBy: "test",
  source: "nothing",
  architecture: "gpt",
  config: {
    architecture: "gpt",
    layers: 2,
    hiddenSize: 12,
    heads: 2,
    kvHeads: 2,
    headDim: 6,
    ffnSize: 24,
    vocabSize: 257,
    maxPositions: 64,
    norm: { kind: "layer", eps: 1e-5, bias: true },
    activation: "gelu_tanh",
    positions: { kind: "learned" },
    bias: { qkv: true, attnProj: true, mlp: true, head: false },
    tiedHead: true,
  },
  ranks: 2,
  dtype: "float32",
  backend: "cpu",
  communication: "overlapped",
  padding: {},
  versions: {},
  tokenizer: { kind: "bytes" },
  eosTokenIds: [256],
  files: {},
};

export class FakeExecutor implements NativeExecutor {
  readonly requests = new Map<number, NativeRequest>();
  readonly cancelled: number[] = [];
  keepAlive = false;
  shutdowns = 0;
  /** As NativeStats.closed. */
  closed = "";
  refuse: (Error & { code?: string }) | undefined;
  #next = 1;

  constructor(readonly table = new RequestTable()) {}

  enqueue(request: NativeRequest): number {
    if (this.refuse) throw this.refuse;
    this.requests.set(this.#next, request);
    return this.#next++;
  }

  cancel(id: number): void {
    this.cancelled.push(id);
  }

  stats(): NativeStats {
    return {
      steps: 3,
      running: this.requests.size,
      waiting: 0,
      closed: this.closed,
      exposedMs: [1, 2],
      collectiveMs: [3, 4],
      hiddenMs: [1, 1],
      prefixQueryTokens: 0,
      prefixHitTokens: 0,
    } as NativeStats;
  }

  async shutdown(): Promise<void> {
    this.shutdowns++;
    await new Promise(setImmediate);
  }

  setKeepAlive(keep: boolean): void {
    this.keepAlive = keep;
  }

  /** Delivers events to the request that was queued last (or the one given). */
  emit(...events: (Partial<NativeResponse> & { text?: string })[]): void {
    const request = this.#next - 1;
    this.table.receive(
      events.flatMap(({ text, ...event }) => {
        const base: NativeResponse = { request, sample: 0, token: -1, logprob: -0.5, finish: "", ...event };
        if (text === undefined) return [base];
        const tokens = [...Buffer.from(text, "utf8")];
        return tokens.map((token, i) => ({
          ...base,
          token,
          finish: i === tokens.length - 1 ? base.finish : ("" as const),
        }));
      }),
    );
  }
}

export function fakeEngine(
  changes: { manifest?: Partial<EngineManifest>; tokenizer?: Tokenizer | undefined } = {},
): { engine: Engine; executor: FakeExecutor } {
  const executor = new FakeExecutor();
  const engine = new Engine({
    directory: "/nowhere",
    manifest: { ...tinyManifest, ...changes.manifest },
    tokenizer: "tokenizer" in changes ? changes.tokenizer : byteTokenizer(),
    maxSequenceLength: 64,
    executor,
    requests: executor.table,
  });
  return { engine, executor };
}
