/**
 * From a trainer's `model_args` to the words of our config.json (kraken-config.ts). The authors' `n_head` counts all
 * ways' heads, of which `n_heads_in_split` are one way's; nanoGPT has no split, and an MLP of 4·d whatever its arguments
 * say. What a trainer of rotary or SwiGLU models adds in our words (`position`, `activation`, …) is taken as it is.
 */
import { ConfigJson } from "./config-json.js";
import type { StoredTensors } from "./stored-tensor.js";

/** @throws CheckpointError ERR_CONFIG when a size is missing or the head counts do not fit */
export function configFromModelArgs(
  where: string,
  args: Record<string, unknown>,
  stored: StoredTensors,
): ConfigJson {
  const json = new ConfigJson(args, `${where}: model_args`);
  const kraken = stored.has("transformer.h.0.0.ln_1.weight");
  const has = (name: string) => stored.has(`transformer.h.${kraken ? "0.0" : "0"}.${name}`);
  const heads = json.integer("n_head");
  const config: Record<string, unknown> = {
    n_positions: json.integer("block_size"),
    activation: has("mlp.c_gate.weight") ? "swiglu" : "gelu_tanh",
    model_type: has("ln_2.weight") ? "gpt" : "parallel",
    ...args,
  };
  if (kraken) {
    const perWay = json.integer("n_heads_in_split");
    if (heads % perWay !== 0) json.fail(`n_heads_in_split (${perWay}) must divide n_head (${heads})`);
    const expansion = json.has("ffn_expansion") && {
      n_inner: json.number("ffn_expansion") * json.integer("n_embd"),
    };
    Object.assign(config, { model_type: "kraken", n_way: heads / perWay, n_head: perWay, ...expansion });
  }
  return new ConfigJson(config, json.where);
}
