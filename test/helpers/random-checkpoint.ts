/** A checkpoint with random weights for any configuration: norms near 1, biases and matrices that matter. */
import { canonicalShapes } from "../../lib/checkpoint/canonical.js";
import type { CheckpointIndex, TensorView } from "../../lib/checkpoint/checkpoint-index.js";
import type { ModelConfig } from "../../lib/model-config.js";

export function randomCheckpoint(config: ModelConfig, seed = 1): CheckpointIndex {
  const tensors: Record<string, TensorView> = {};
  for (const [name, shape] of canonicalShapes(config)) {
    // 1/√d keeps activations of order one through the layers; random norm weights tell ways and layers apart.
    const matrix = shape.length > 1 && !name.endsWith(".bias");
    const std = matrix ? 1 / Math.sqrt(config.hiddenSize) : 0.5;
    tensors[name] = { source: "random", seed, std, shape };
  }
  const table = tensors["embed.tokens"]!;
  if (config.tiedHead && table.source === "random")
    tensors["head.weight"] = { ...table, name: "embed.tokens" };
  return { description: "random weights", dtype: "float32", config, tensors, eosTokenIds: [] };
}
