/** Uses the public API as a strict ESM program would; type-checked, never run. */
import {
  ArgumentError,
  type BuildPlan,
  type BuildSummary,
  buildEngine,
  Engine,
  type Generation,
  type GenerationResult,
  KrakenError,
  type KrakenErrorCode,
} from "../../lib/index.js";

export async function build(signal: AbortSignal): Promise<number> {
  const plan: BuildPlan = await buildEngine({ random: "kraken-tiny-2way", ranks: 2, dryRun: true });
  const weights: number = plan.perRank.reduce((sum, rank) => sum + rank.weightBytes, 0);
  const summary: BuildSummary = await buildEngine({
    checkpoint: "ckpt.pt",
    output: "engines/demo",
    ranks: 2,
    dtype: "bfloat16",
    backend: "cpu",
    signal,
    onProgress: ({ stage, bytesDone, bytesTotal }) =>
      console.log(stage satisfies string, bytesDone / bytesTotal),
  });
  // @ts-expect-error: not a dtype
  await buildEngine({ checkpoint: "ckpt.pt", output: "x", dtype: "int4" });
  // @ts-expect-error: a dry run has no directory
  plan.directory satisfies string;
  return weights + summary.bytes;
}

export async function generate(): Promise<GenerationResult> {
  await using engine = await Engine.load("engines/demo", { maxBatchSize: 8, isolation: "process" });
  await using hosted = await Engine.load("engines/demo", {
    hosts: ["a:1", "b:1"],
    launchAgent: ["srun", "-w"],
  });
  hosted.directory satisfies string;
  // @ts-expect-error: not a place
  await Engine.load("engines/demo", { isolation: "thread" });
  const { signal } = new AbortController();
  const run: Generation = engine.generate("In the beginning", {
    maxTokens: 64,
    temperature: 0.8,
    topP: 0.95,
    seed: 1n,
    logitBias: { 5: -1 },
    stop: ["\n\n"],
    logprobs: 2,
    signal,
  });
  for await (const { text, token, logprob, alternatives, sample } of run) {
    text satisfies string;
    [token, sample] satisfies number[];
    logprob satisfies number | undefined;
    alternatives?.[0]?.token satisfies number | undefined;
  }
  const { text, tokens, finishReason, timing, samples } = await run;
  [text, finishReason satisfies "stop" | "length" | "cancelled"] satisfies string[];
  [...tokens, timing.ttftMs, timing.queueMs, timing.decodeMsPerToken] satisfies number[];
  samples?.map((sample) => sample.text) satisfies string[] | undefined;
  // @ts-expect-error: misspelt
  engine.generate("x", { maxtokens: 3 });
  const { logprobs, perplexity } = await engine.score(Int32Array.of(1, 2, 3));
  const first: number | null | undefined = logprobs[0];
  const { rows, vocabSize, data } = await engine.logits([first ?? 0, perplexity]);
  data[rows * vocabSize - 1] satisfies number | undefined;
  await engine.dispose({ drain: true });
  return run.catch((error: unknown) => {
    if (error instanceof ArgumentError) error.code satisfies "ERR_OPTION" | KrakenErrorCode;
    if (error instanceof KrakenError && error.code === "ERR_QUEUE_FULL") return run;
    throw error;
  });
}
