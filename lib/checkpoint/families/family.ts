/** What a reader of one model family gives: the configuration, and the rules from its names to canonical ones. */
import type { ModelConfig } from "../../model-config.js";
import type { TensorRule } from "../assemble.js";
import type { ConfigJson } from "../config-json.js";
import type { StoredTensors } from "../stored-tensor.js";

export interface FamilyModel {
  config: ModelConfig;
  /** For the configuration given: the one above, or the same weights run as another architecture. */
  rules(config: ModelConfig): TensorRule[];
  /** Names that are no weights. */
  ignored: RegExp[];
}

/**
 * Reads a configuration. `stored` answers what a family's config leaves open (which biases there are, a tied head).
 * @throws CheckpointError ERR_CONFIG
 */
export type Family = (json: ConfigJson, stored: StoredTensors) => FamilyModel;

/** Canonical prefix of one way's part of a layer, e.g. "layers.3.ways.0". */
export function block(layer: number, way = 0): string {
  return `layers.${layer}.ways.${way}`;
}

/** Weight and bias of a norm, from a file's prefix. */
export function normRules(config: ModelConfig, to: string, from: string): TensorRule[] {
  const parts = config.norm.bias ? ["weight", "bias"] : ["weight"];
  return parts.map((part) => ({ to: `${to}.${part}`, from: `${from}.${part}`, shape: [config.hiddenSize] }));
}

/** Whether the blocks of a configuration have a second norm. */
export function hasSecondNorm(config: ModelConfig): boolean {
  return config.architecture !== "parallel" || config.separateNorms;
}

/** Division that must come out even. @throws CheckpointError ERR_CONFIG */
export function headDim(json: ConfigJson, width: number, heads: number): number {
  if (width % heads !== 0) json.fail(`${heads} heads do not divide a width of ${width}`);
  return width / heads;
}
