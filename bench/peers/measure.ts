/** One model: every peer loaded and checked against our logits, then timed in turns. */
import { Engine } from "../../lib/index.js";
import { randomNumbers } from "../../lib/report/statistics.js";
import { type Peer, peersOf, weights, workerEnvironment } from "./catalogue.js";
import { decodeTokens, type Model, type PeersOptions } from "./options.js";
import { type Check, type PeerResult, relativeError, tolerance } from "./results.js";
import { Worker } from "./worker.js";

const warmUpRounds = 2;
const checkedPrompt = 128;
/** Threads that spin for a while after their work have slept when the next peer's turn comes. */
const settleMs = 50;
const note = (text: string) => process.stderr.write(`peers: ${text}\n`);
const words = (error: unknown) => (error instanceof Error ? error.message : String(error));
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const promptOf = (length: number, vocabSize: number) =>
  Array.from({ length }, (_, i) => (i * 7919 + 13) % vocabSize);

interface Reference {
  vocabSize: number;
  /** [2, vocabSize] of ours in float32. */
  logits: Float32Array;
}

/** The token that the checked decode step reads. */
const checkedToken = 17;

async function referenceLogits(directory: string): Promise<Reference> {
  await using engine = await Engine.load(directory, { maxBatchSize: 1 });
  const { vocabSize } = engine.config;
  const prompt = [...promptOf(checkedPrompt, vocabSize), checkedToken];
  const { data, rows } = await engine.logits(prompt);
  return { vocabSize, logits: data.slice((rows - 2) * vocabSize) };
}

interface Candidate {
  result: PeerResult;
  worker: Worker;
  /** Of its own turns, in ms: on the clock, and of its processor time. */
  own: { wall: number; processor: number };
}

async function check(worker: Worker, reference: Reference, peer: Peer): Promise<Check> {
  const { vocabSize, logits } = reference;
  const actual = await worker.logits(promptOf(checkedPrompt, vocabSize), checkedToken);
  const [prefill, decode] = [0, vocabSize].map((row) =>
    relativeError(actual.slice(row, row + vocabSize), logits.slice(row, row + vocabSize)),
  );
  return { prefill: prefill!, decode: decode!, tolerance: tolerance[peer.dtype] };
}

const passed = ({ prefill, decode, tolerance }: Check) => prefill <= tolerance && decode <= tolerance;

export class ModelRun {
  readonly results: PeerResult[] = [];
  #candidates: Candidate[] = [];
  readonly #turns: { context: number; count: number }[];

  constructor(
    private readonly model: Model,
    private readonly options: PeersOptions,
    private readonly directory: string,
  ) {
    const [shortest] = options.contexts;
    this.#turns = options.contexts.map((context) => ({
      context,
      count: context === shortest ? 1 + decodeTokens : 1,
    }));
  }

  async run(): Promise<PeerResult[]> {
    const { model, directory, options } = this;
    const artifacts = { model, directory, threads: options.threads };
    const reference = await referenceLogits(await weights(artifacts));
    try {
      for (const peer of peersOf(model, options)) await this.#admit(peer, reference, artifacts);
      await this.#time(reference.vocabSize);
    } finally {
      await Promise.all(this.#candidates.map(({ worker }) => worker.stop()));
    }
    return this.results;
  }

  async #admit(peer: Peer, reference: Reference, artifacts: Parameters<Peer["prepare"]>[0]): Promise<void> {
    const { model } = this;
    const { runtime, dtype } = peer;
    const result: PeerResult = { model, runtime, dtype, status: "measured", versions: {}, samplesMs: {} };
    this.results.push(result);
    let worker: Worker | undefined;
    try {
      await peer.install();
      const parameters = await peer.prepare(artifacts, dtype);
      worker = new Worker(peer.command, workerEnvironment(artifacts.threads));
      result.versions = (await worker.load(parameters)).versions;
      result.check = await check(worker, reference, peer);
      if (!passed(result.check)) {
        result.status = "failed";
        result.reason = `its logits are ${Math.max(result.check.prefill, result.check.decode).toExponential(1)} off`;
      }
    } catch (error) {
      result.status = "not measured";
      result.reason = words(error);
    }
    if (result.status === "measured" && worker) {
      this.#candidates.push({ result, worker, own: { wall: 0, processor: 0 } });
    } else await worker?.stop();
    note(`${model} ${runtime} ${dtype}: ${result.reason ?? "its logits are right"}`);
  }

  async #time(vocabSize: number): Promise<void> {
    const random = randomNumbers(1);
    const round = async (keep: boolean) => {
      const turns = this.#candidates.flatMap((candidate) =>
        this.#turns.map((turn) => ({ candidate, ...turn, place: random() })),
      );
      turns.sort((a, b) => a.place - b.place);
      for (const { candidate, context, count } of turns) {
        if (candidate.result.status !== "measured") continue;
        await this.#turn(candidate, context, count, vocabSize, keep);
      }
    };
    note(`${this.model}: warming up`);
    for (let i = 0; i < warmUpRounds; i++) await round(false);
    const before = this.#candidates.map(({ worker }) => worker.processorMs());
    for (const { own } of this.#candidates) Object.assign(own, { wall: 0, processor: 0 });
    const from = performance.now();
    for (let i = 1; i <= this.options.rounds; i++) {
      note(`${this.model}: round ${i} of ${this.options.rounds}`);
      await round(true);
    }
    const wall = performance.now() - from;
    for (const [i, { result, worker, own }] of this.#candidates.entries()) {
      const waiting = (worker.processorMs() - before[i]! - own.processor) / (wall - own.wall);
      if (Number.isFinite(waiting)) result.idleMsPerSecond = 1000 * waiting;
    }
  }

  /** The others wait; a short request wakes this one before the one that is timed. */
  async #turn(candidate: Candidate, context: number, count: number, vocabSize: number, keep: boolean) {
    const { result, worker, own } = candidate;
    const [wall, processor] = [performance.now(), worker.processorMs()];
    try {
      await worker.generate(promptOf(this.options.contexts[0]!, vocabSize), 2);
      const { ttftMs, decodeMsPerToken } = await worker.generate(promptOf(context, vocabSize), count);
      await sleep(settleMs);
      own.wall += performance.now() - wall;
      own.processor += worker.processorMs() - processor;
      if (!keep) return;
      const add = (metric: string, ms: number) => {
        result.samplesMs[metric] ??= [];
        result.samplesMs[metric].push(ms);
      };
      add(`ttft@${context}`, ttftMs);
      if (decodeMsPerToken !== null) add(`decode@${context}`, decodeMsPerToken);
    } catch (error) {
      result.status = "not measured";
      result.reason = words(error);
      note(`${this.model} ${result.runtime} ${result.dtype}: ${result.reason}`);
    }
  }
}

/** The columns of a report: what every turn measures. */
export function metricsOf({ contexts }: Pick<PeersOptions, "contexts">): string[] {
  return [...contexts.map((context) => `ttft@${context}`), `decode@${contexts[0]}`];
}
