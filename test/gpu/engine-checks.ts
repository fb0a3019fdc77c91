/**
 * One engine of a backend beside one of backend cpu in float32, from the same weights: the logits of a prompt, and what is
 * generated greedily and by seeds for several prompts at a time, so that decode steps of a batch run, too.
 */
import { join } from "node:path";
import { tolerances } from "../../lib/bench/check.js";
import { randomPrompts } from "../../lib/bench/measure.js";
import {
  type BuildOptions,
  buildEngine,
  Engine,
  type GenerateOptions,
  type LoadOptions,
} from "../../lib/index.js";
import type { Check } from "./engine-report.js";

export type Dtype = "float32" | "bfloat16" | "float16";

export interface Wanted {
  backend: string;
  dtype: Dtype;
  ranks: number;
  ranksPerDevice: number;
}

export interface Answers {
  logits: Float32Array;
  tokens: number[][];
  /** Of each of `samplings`, in its order. */
  sampled: number[][];
}

/**
 * Of ‖Δ‖ / ‖logits‖. The bounds of docs/architecture.md are from exact arithmetic; two float32 engines are each as far
 * from it, in other directions. Beside 16 bits the reference's own error is nothing.
 */
export const allowed: Record<Dtype, number> = {
  float32: 2 * tolerances.float32,
  bfloat16: tolerances.bfloat16,
  float16: tolerances.float16,
};

const outputTokens = 16;
/** Of the prompts that are continued together: one token, one that fills a block of 64 on its way, and others. */
const lengths = [1, 9, 60, 33];

/** Ways to draw: those that a device's candidates serve, and those that take all logits. */
const samplings: readonly (readonly [name: string, GenerateOptions])[] = [
  ["temperature", { temperature: 0.7 }],
  ["top-k", { topK: 40 }],
  ["top-k and top-p", { topK: 100, topP: 0.9 }],
  ["top-p", { temperature: 0.8, topP: 0.6 }],
  ["min-p", { minP: 0.1 }],
  ["logprobs", { temperature: 0.7, logprobs: 2 }],
  ["a penalty", { temperature: 0.7, presencePenalty: 0.5 }],
];

const pathOf = ({ backend, dtype, ranks }: Wanted, directory: string) =>
  join(directory, `${backend}-${dtype}-${ranks}`);
const shared = ({ ranksPerDevice }: Wanted, signal: AbortSignal) => ({
  maxBatchSize: lengths.length,
  ranksPerDevice: ranksPerDevice > 1 ? ranksPerDevice : undefined,
  signal,
});

/** Builds the engine, and asks it. */
export async function ask(
  model: Pick<BuildOptions, "checkpoint" | "random" | "seed">,
  wanted: Wanted,
  directory: string,
  signal: AbortSignal,
): Promise<Answers> {
  const { backend, dtype, ranks } = wanted;
  const output = pathOf(wanted, directory);
  await buildEngine({ ...model, output, backend, dtype, ranks, ...shared(wanted, signal) });
  return askBuilt(wanted, directory, signal);
}

/** Asks an engine that was built there. */
export async function askBuilt(
  wanted: Wanted,
  directory: string,
  signal: AbortSignal,
  options: Pick<LoadOptions, "hosts"> = {},
): Promise<Answers> {
  await using engine = await Engine.load(pathOf(wanted, directory), {
    ...shared(wanted, signal),
    ...options,
  });
  const { vocabSize } = engine.config;
  const [prompt] = randomPrompts(1, 100, vocabSize, 1) as [number[]];
  const { data } = await engine.logits(prompt, { signal });
  const prompts = lengths.map((length, i) => randomPrompts(1, length, vocabSize, 2 + i)[0]!);
  const results = await Promise.all(
    prompts.map((one) =>
      engine.generate(one, { maxTokens: outputTokens, temperature: 0, ignoreEos: true, signal }),
    ),
  );
  const drawn = await Promise.all(
    samplings.map(([, options], i) =>
      engine.generate(prompts[i % prompts.length]!, {
        ...options,
        maxTokens: outputTokens,
        seed: 100 + i,
        ignoreEos: true,
        signal,
      }),
    ),
  );
  const tokens = (all: typeof results) => all.map((one) => [...one.tokens]);
  return { logits: data, tokens: tokens(results), sampled: tokens(drawn) };
}

function relativeError(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length || expected.length === 0) return Number.POSITIVE_INFINITY;
  let [difference, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

const others = (actual: readonly number[] | undefined, expected: readonly number[]) =>
  expected.filter((token, i) => token !== actual?.[i]).length;

/**
 * Tokens are compared in float32 alone: rounding to 16 bits may decide between two nearly as likely. In float32 a draw
 * may do so, too, where two backends' logits differ by 1e-5 and it falls between them: rare, and the seeds are fixed.
 */
export function compare(actual: Answers, expected: Answers, dtype: Dtype): Check[] {
  const logits = {
    name: `logits, ${dtype}`,
    error: relativeError(actual.logits, expected.logits),
    tolerance: allowed[dtype],
  };
  if (dtype !== "float32") return [logits];
  const greedy = expected.tokens.map((tokens, i) => ({
    name: `tokens after a prompt of ${lengths[i]} that are others`,
    error: others(actual.tokens[i], tokens),
    tolerance: 0,
  }));
  const seeded = expected.sampled.map((tokens, i) => ({
    name: `tokens by seed that are others, ${samplings[i]![0]}`,
    error: others(actual.sampled[i], tokens),
    tolerance: 0,
  }));
  return [logits, ...greedy, ...seeded];
}
