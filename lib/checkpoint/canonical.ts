/** The canonical tensors a configuration needs, by name: the one list that readers, presets and checks agree on. */
import { CheckpointError } from "../errors.js";
import { type ModelConfig, waysOf } from "../model-config.js";
import type { TensorView } from "./checkpoint-index.js";

/** Canonical name → shape of every tensor of a model (see checkpoint-index.ts for the vocabulary). */
export function canonicalShapes(c: ModelConfig): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  const [d, h, kv, hd, f] = [c.hiddenSize, c.heads, c.kvHeads, c.headDim, c.ffnSize];
  const norm = (name: string) => {
    shapes.set(`${name}.weight`, [d]);
    if (c.norm.bias) shapes.set(`${name}.bias`, [d]);
  };
  const linear = (name: string, weight: number[], bias: number[] | false) => {
    shapes.set(`${name}.weight`, weight);
    if (bias) shapes.set(`${name}.bias`, bias);
  };

  shapes.set("embed.tokens", [c.vocabSize, d]);
  if (c.positions.kind === "learned") shapes.set("embed.positions", [c.maxPositions, d]);
  for (let layer = 0; layer < c.layers; layer++) {
    for (let way = 0; way < waysOf(c); way++) {
      const at = `layers.${layer}.ways.${way}`;
      norm(`${at}.norm1`);
      linear(`${at}.attn.q`, [h, hd, d], c.bias.qkv && [h, hd]);
      linear(`${at}.attn.k`, [kv, hd, d], c.bias.qkv && [kv, hd]);
      linear(`${at}.attn.v`, [kv, hd, d], c.bias.qkv && [kv, hd]);
      linear(`${at}.attn.proj`, [d, h, hd], c.bias.attnProj && [d]);
      if (c.architecture !== "parallel" || c.separateNorms) norm(`${at}.norm2`);
      linear(`${at}.mlp.up`, [f, d], c.bias.mlp && [f]);
      if (c.activation === "swiglu") linear(`${at}.mlp.gate`, [f, d], c.bias.mlp && [f]);
      linear(`${at}.mlp.down`, [d, f], c.bias.mlp && [d]);
    }
  }
  if (c.architecture === "kraken") linear("conjunction", [d, c.ways, d], c.conjunctionBias && [d]);
  norm("final_norm");
  linear("head", [c.vocabSize, d], c.bias.head && [c.vocabSize]);
  return shapes;
}

/**
 * Checks that an index has every tensor of its configuration, in the right shape.
 * @throws CheckpointError ERR_CHECKPOINT_TENSORS naming up to five offenders
 */
export function checkCanonicalTensors(config: ModelConfig, tensors: Record<string, TensorView>): void {
  const problems: string[] = [];
  for (const [name, shape] of canonicalShapes(config)) {
    const found = tensors[name];
    if (!found) problems.push(`${name} is missing (expected [${shape}])`);
    else if (found.shape.join() !== shape.join()) {
      problems.push(`${name} has shape [${found.shape}], expected [${shape}]`);
    }
  }
  if (problems.length > 0) {
    const shown = problems.slice(0, 5).join("; ");
    const more = problems.length > 5 ? `; and ${problems.length - 5} more` : "";
    throw new CheckpointError(
      "ERR_CHECKPOINT_TENSORS",
      `checkpoint does not fit its configuration: ${shown}${more}`,
    );
  }
}
