/** Who takes part in a comparison. */
import type { Architecture, ModelConfig } from "../model-config.js";

export interface Contender {
  /** Its name in tables: "standard", "parallel", "ladder", "Kraken", or what it was called on the command line. */
  label: string;
  /** Which model exactly, in words. */
  model: string;
  config: ModelConfig;
  /** An engine that exists, where one was given; without it the weights are random. */
  directory?: string;
}

/** Models that are timed side by side. */
export interface Comparison {
  /** "paper:125m", or "given" for the presets and engines of the command line. */
  name: string;
  /** One rank count's. @throws ArgumentError ERR_RANKS where a model is for another */
  contenders(ranks: number): Contender[];
}

export const labels: Record<Architecture, string> = {
  gpt: "standard",
  parallel: "parallel",
  ladder: "ladder",
  kraken: "Kraken",
};

/** The one that speed-ups are over: the standard transformer, or else the first. */
export function baselineOf<T extends { config: Pick<ModelConfig, "architecture"> }>(
  contenders: readonly T[],
): T | undefined {
  return contenders.find(({ config }) => config.architecture === "gpt") ?? contenders[0];
}
