/** What bounds a step of an engine: chosen when it is built, or only estimated with. */
import { integerOption } from "./options.js";

/** The sizes of a step that an engine is built for. */
export interface StepLimits {
  maxStepTokens: number;
  maxBatchSize: number;
  /** Tokens of the longest sequence. */
  maxSequenceLength: number;
}

export function defaultLimits(maxSequenceLength: number): StepLimits {
  return { maxStepTokens: Math.min(2048, maxSequenceLength), maxBatchSize: 8, maxSequenceLength };
}

/** @throws ArgumentError ERR_OPTION */
export function stepLimits(
  options: { maxStepTokens?: number | undefined; maxBatchSize?: number | undefined },
  maxSequenceLength: number,
): StepLimits {
  const usual = defaultLimits(maxSequenceLength);
  const maxBatchSize = integerOption("maxBatchSize", options.maxBatchSize, {
    min: 1,
    max: 4096,
    fallback: usual.maxBatchSize,
  });
  const maxStepTokens = integerOption("maxStepTokens", options.maxStepTokens, {
    min: 1,
    max: 1 << 20,
    fallback: usual.maxStepTokens,
  });
  // Every sequence that runs has a token in a step.
  return { maxStepTokens: Math.max(maxStepTokens, maxBatchSize), maxBatchSize, maxSequenceLength };
}
