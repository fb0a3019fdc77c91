/** Hugging Face models: which family a config.json is of, and what it says about the ends of texts. */
import { CheckpointError } from "../errors.js";
import type { ConfigJson } from "./config-json.js";
import type { Family, FamilyModel } from "./families/family.js";
import { gptNeox } from "./families/gpt-neox.js";
import { gpt2 } from "./families/gpt2.js";
import { gptj } from "./families/gptj.js";
import { llama } from "./families/llama.js";
import { krakenFamily, krakenModelTypes } from "./kraken-config.js";
import type { StoredTensors } from "./stored-tensor.js";

const families: Record<string, Family> = {
  gpt2,
  gptj,
  gpt_neox: gptNeox,
  llama,
  ...Object.fromEntries(krakenModelTypes.map((type) => [type, krakenFamily])),
};

/**
 * The model a config.json describes: one of transformers', or ours (kraken-config.ts).
 * @throws CheckpointError ERR_CONFIG; ERR_CHECKPOINT_DTYPE for quantised weights
 */
export function familyModel(json: ConfigJson, stored: StoredTensors): FamilyModel {
  if (json.has("quantization_config")) {
    throw new CheckpointError("ERR_CHECKPOINT_DTYPE", `${json.where}: quantised weights are not supported`);
  }
  return json.oneOf("model_type", families)(json, stored);
}

/** Token ids under a key: one, several or none. The first file that has the key decides. */
export function tokenIds(sources: readonly (ConfigJson | undefined)[], key: string): number[] {
  const source = sources.find((json) => json?.has(key));
  if (!source) return [];
  const value = source.raw(key);
  const ids = (Array.isArray(value) ? value : [value]) as number[];
  if (!ids.every((id) => Number.isSafeInteger(id) && id >= -1)) {
    source.fail(`\`${key}\` must be a token id or a list of them, got ${JSON.stringify(value)}`);
  }
  return ids.filter((id) => id >= 0);
}
