/** Opens a checkpoint of any kind: which format, which family, which architecture; then canonical tensors. */
import { dirname } from "node:path";
import { ArgumentError, CheckpointError } from "../errors.js";
import { type Architecture, type ModelConfig, validateModelConfig } from "../model-config.js";
import { tokenizerSpecialIds } from "../tokenizer/special-tokens.js";
import { asArchitecture } from "./architecture.js";
import { assemble, commonDType } from "./assemble.js";
import { checkCanonicalTensors } from "./canonical.js";
import type { CheckpointIndex, TokenizerSource } from "./checkpoint-index.js";
import { ConfigJson } from "./config-json.js";
import type { FamilyModel } from "./families/family.js";
import { readJsonObject } from "./file-reader.js";
import { familyModel, tokenIds } from "./huggingface.js";
import { krakenFamily } from "./kraken-config.js";
import { type CheckpointFiles, locateCheckpoint } from "./locate.js";
import { configFromModelArgs } from "./model-args.js";
import { readSafetensors, readSharded } from "./safetensors.js";
import type { StoredTensors } from "./stored-tensor.js";
import { readTorchCheckpoint } from "./torch.js";

export interface OpenCheckpointOptions {
  /** Run the weights as this architecture instead of the one detected; gpt, ladder and parallel share their tensors. */
  architecture?: Architecture;
}

const architectures: readonly string[] = ["kraken", "gpt", "parallel", "ladder"] satisfies Architecture[];

/**
 * Reads a checkpoint's headers. No weights are loaded, so its size does not matter.
 *
 * @param path a torch checkpoint (`ckpt.pt` of the Kraken trainer or of nanoGPT), a .safetensors file with its
 *   config.json beside it, a shard index, or a directory with any of these (Hugging Face's, for instance)
 * @throws CheckpointError ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_UNSAFE, ERR_CHECKPOINT_TENSORS, ERR_CHECKPOINT_DTYPE,
 *   ERR_CONFIG; RuntimeError ERR_IO; ArgumentError ERR_OPTION for an unknown architecture
 */
export async function openCheckpoint(
  path: string,
  options: OpenCheckpointOptions = {},
): Promise<CheckpointIndex> {
  const { architecture } = options;
  if (architecture !== undefined && !architectures.includes(architecture)) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`architecture\` must be one of ${architectures.join(", ")}, got ${architecture}`,
    );
  }
  const files = await locateCheckpoint(path);
  const { stored, modelArgs } = await readWeights(files);
  const json = await configOf(files, stored, modelArgs);
  const model: FamilyModel = modelArgs ? krakenFamily(json, stored) : familyModel(json, stored);
  const config = validateModelConfig(
    architecture ? asArchitecture(files.weights, model.config, architecture) : model.config,
  );
  const tensors = assemble(files.weights, stored, model.rules(config), model.ignored);
  checkCanonicalTensors(config, tensors);

  const tokenizer = tokenizerSource(files, config);
  const generation = files.generationConfig && (await readJsonObject(files.generationConfig));
  const sources = [generation ? new ConfigJson(generation, files.generationConfig!) : undefined, json];
  const fallback = await tokenizerSpecialIds(tokenizer);
  const inVocabulary = (id: number) => id < config.vocabSize;
  const configured = tokenIds(sources, "eos_token_id").filter(inVocabulary);
  const bosTokenId = tokenIds(sources, "bos_token_id").find(inVocabulary) ?? fallback.bos;
  return {
    description: describe(files, modelArgs !== undefined, json, config),
    dtype: commonDType(tensors),
    config,
    tensors,
    ...(tokenizer && { tokenizer }),
    eosTokenIds: configured.length > 0 ? configured : fallback.eos,
    ...(bosTokenId !== undefined && { bosTokenId }),
  };
}

async function readWeights(
  files: CheckpointFiles,
): Promise<{ stored: StoredTensors; modelArgs?: Record<string, unknown> }> {
  if (files.format === "torch" && !files.sharded) {
    const { tensors, modelArgs } = await readTorchCheckpoint(files.weights);
    return modelArgs ? { stored: tensors, modelArgs } : { stored: tensors };
  }
  const readOne =
    files.format === "torch"
      ? async (file: string) => (await readTorchCheckpoint(file)).tensors
      : readSafetensors;
  return { stored: await (files.sharded ? readSharded(files.weights, readOne) : readOne(files.weights)) };
}

async function configOf(
  files: CheckpointFiles,
  stored: StoredTensors,
  modelArgs: Record<string, unknown> | undefined,
): Promise<ConfigJson> {
  if (modelArgs) return configFromModelArgs(files.weights, modelArgs, stored);
  if (files.config) return new ConfigJson(await readJsonObject(files.config), files.config);
  throw new CheckpointError(
    "ERR_CONFIG",
    `${files.weights} holds tensors but not the model's sizes: expected a config.json in ${dirname(files.weights)}` +
      (files.format === "torch" ? ", or `model_args` in the checkpoint" : ""),
  );
}

/** GPT-2's vocabulary, as it is and as nanoGPT pads it. */
const gpt2Vocabularies = [50257, 50304];

function tokenizerSource(files: CheckpointFiles, config: ModelConfig): TokenizerSource | undefined {
  if (files.tokenizer) {
    const configFile = files.tokenizerConfig;
    return { kind: "file", file: files.tokenizer, ...(configFile && { configFile }) };
  }
  if (gpt2Vocabularies.includes(config.vocabSize)) return { kind: "gpt2" };
  if (config.vocabSize === 256) return { kind: "bytes" };
  return undefined;
}

function describe(
  files: CheckpointFiles,
  fromTrainer: boolean,
  json: ConfigJson,
  config: ModelConfig,
): string {
  const format = files.format === "torch" ? "PyTorch" : "safetensors";
  if (fromTrainer) {
    return `PyTorch checkpoint of ${config.architecture === "kraken" ? "the Kraken trainer" : "a nanoGPT trainer"}`;
  }
  return `${format} checkpoint of a ${json.string("model_type")} model${files.sharded ? ", sharded" : ""}`;
}
