/**
 * What TensorRT-LLM reads of an engine directory's config.json: pretrained_config, build_config and plugin_config, under
 * the names its 1.2 line has for them. They lie in the same file as our manifest; each side ignores the other's keys.
 *
 * TensorRT-LLM knows one stack of heads per rank. A rank's ways share one attention call, so the engine tells it of
 * ways × heads, and of the head size that its kernels take; the scale stays that of the true one (q_scaling).
 */
import { ArgumentError } from "../errors.js";
import { type DType, type ModelConfig, waysOf } from "../model-config.js";
import { closest, integerOption, optionError } from "../options.js";

/** The release that engines are built for and run by. 1.3 removed TensorRT engines. */
export const trtllmVersion = "1.2.1";

/** Head sizes that both of its attention kernels have, for prompts and for single tokens. */
const headSizes = [32, 48, 64, 80, 96, 104, 128, 160, 192, 256];

export interface TrtLlmLimits {
  maxBatchSize: number;
  maxInputLen: number;
  maxSeqLen: number;
  maxNumTokens: number;
  gatherContextLogits: boolean;
}

export type TrtLlmLimitOptions = { [Key in keyof TrtLlmLimits]?: TrtLlmLimits[Key] | undefined };

/** By the name that trtllm-build has for each. */
export const limitNames: Record<string, keyof TrtLlmLimits> = {
  max_batch_size: "maxBatchSize",
  max_input_len: "maxInputLen",
  max_seq_len: "maxSeqLen",
  max_num_tokens: "maxNumTokens",
  gather_context_logits: "gatherContextLogits",
};

/** The keys of config.json that are TensorRT-LLM's, and `kraken` for what our ranks need to know. */
export interface TrtLlmConfig {
  version: string;
  pretrained_config: {
    architecture: string;
    dtype: string;
    logits_dtype: "float32";
    num_hidden_layers: number;
    num_attention_heads: number;
    num_key_value_heads: number;
    head_size: number;
    hidden_size: number;
    intermediate_size: number;
    vocab_size: number;
    max_position_embeddings: number;
    position_embedding_type: string;
    rotary_embedding_dim?: number;
    mapping: { world_size: number; tp_size: number; pp_size: 1; cp_size: 1; gpus_per_node: number };
    quantization: { quant_algo: null; kv_cache_quant_algo: null };
  };
  build_config: {
    max_batch_size: number;
    max_beam_width: 1;
    max_input_len: number;
    max_seq_len: number;
    max_num_tokens: number;
    max_prompt_embedding_table_size: 0;
    gather_context_logits: boolean;
    gather_generation_logits: boolean;
    kv_cache_type: "paged";
    speculative_decoding_mode: 1;
    max_draft_len: 0;
    lora_config: Record<string, never>;
    plugin_config: Record<string, string | number | boolean | null>;
  };
  kraken: {
    /** Plugins of ours in one rank's engine, and bytes of the largest sum they exchange. */
    plugins: number;
    exchange_bytes: number;
    head_dim: number;
    q_scaling: number;
  };
}

/** @throws ArgumentError ERR_OPTION naming the option; ERR_CONTEXT_LENGTH for more positions than the model has */
export function trtllmLimits(options: TrtLlmLimitOptions, config: ModelConfig): TrtLlmLimits {
  const maxSeqLen = integerOption("maxSeqLen", options.maxSeqLen, { min: 2, fallback: config.maxPositions });
  if (maxSeqLen > config.maxPositions) {
    throw new ArgumentError(
      "ERR_CONTEXT_LENGTH",
      `\`maxSeqLen\` is ${maxSeqLen}, but the model has ${config.maxPositions} positions`,
    );
  }
  const maxInputLen = integerOption("maxInputLen", options.maxInputLen, { min: 1, fallback: maxSeqLen - 1 });
  if (maxInputLen >= maxSeqLen) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`maxInputLen\` must be less than \`maxSeqLen\` (${maxSeqLen}), which counts the output too; got ${maxInputLen}`,
    );
  }
  const maxBatchSize = integerOption("maxBatchSize", options.maxBatchSize, {
    min: 1,
    max: 4096,
    fallback: 8,
  });
  const maxNumTokens = integerOption("maxNumTokens", options.maxNumTokens, {
    min: 1,
    max: 1 << 20,
    fallback: Math.max(maxBatchSize, Math.min(8192, maxBatchSize * maxInputLen)),
  });
  if (maxNumTokens < maxBatchSize) {
    throw optionError("maxNumTokens", `at least \`maxBatchSize\` (${maxBatchSize})`, maxNumTokens);
  }
  return {
    maxBatchSize,
    maxInputLen,
    maxSeqLen,
    maxNumTokens,
    gatherContextLogits: options.gatherContextLogits ?? false,
  };
}

/** `headDim` rounded up to what the kernels take. @throws ArgumentError ERR_OPTION beyond the largest */
export function paddedHeadDim(headDim: number): number {
  const padded = headSizes.find((size) => size >= headDim);
  if (padded !== undefined) return padded;
  throw new ArgumentError(
    "ERR_OPTION",
    `backend "tensorrt-llm" has attention kernels for heads of up to ${headSizes.at(-1)}, this model's have ${headDim}`,
  );
}

/** Plugins of ours in the engine of one rank: each exchange has a start and a join, each blocking sum a plugin. */
function pluginCount(config: ModelConfig, ranks: number): number {
  switch (config.architecture) {
    case "kraken":
      // One rank has nobody to exchange with, but its ways still join.
      return 2 * (config.layers - 1) + 1;
    case "ladder":
      return ranks === 1 ? 0 : 4 * config.layers;
    case "parallel":
      return ranks === 1 ? 0 : config.layers;
    case "gpt":
      return ranks === 1 ? 0 : 2 * config.layers;
  }
}

export function trtllmConfig(
  config: ModelConfig,
  { ranks, dtype, limits }: { ranks: number; dtype: DType; limits: TrtLlmLimits },
): TrtLlmConfig {
  if (dtype === "int8") {
    throw new ArgumentError(
      "ERR_OPTION",
      'backend "tensorrt-llm" builds float32 and bfloat16 engines; int8 is for backend "cpu"',
    );
  }
  const ways = waysOf(config);
  const headSize = paddedHeadDim(config.headDim);
  // Its attention kernels for whole prompts have no float32.
  const fused = dtype !== "float32";
  const { positions } = config;
  return {
    version: trtllmVersion,
    pretrained_config: {
      architecture: `Kraken${config.architecture[0]!.toUpperCase()}${config.architecture.slice(1)}ForCausalLM`,
      dtype,
      logits_dtype: "float32",
      num_hidden_layers: config.layers,
      num_attention_heads: ways * config.heads,
      num_key_value_heads: ways * config.kvHeads,
      head_size: headSize,
      // It divides by the ranks, and every rank of a Kraken has the full width.
      hidden_size: ways === 1 ? config.hiddenSize : config.hiddenSize * ranks,
      intermediate_size: ways * config.ffnSize,
      vocab_size: config.vocabSize,
      max_position_embeddings: config.maxPositions,
      position_embedding_type:
        positions.kind === "learned"
          ? "learned_absolute"
          : positions.interleaved
            ? "rope_gptj"
            : "rope_gpt_neox",
      ...(positions.kind === "rotary" && { rotary_embedding_dim: positions.dims }),
      mapping: { world_size: ranks, tp_size: ranks, pp_size: 1, cp_size: 1, gpus_per_node: 8 },
      quantization: { quant_algo: null, kv_cache_quant_algo: null },
    },
    build_config: {
      max_batch_size: limits.maxBatchSize,
      max_beam_width: 1,
      max_input_len: limits.maxInputLen,
      max_seq_len: limits.maxSeqLen,
      max_num_tokens: limits.maxNumTokens,
      max_prompt_embedding_table_size: 0,
      gather_context_logits: limits.gatherContextLogits,
      gather_generation_logits: true,
      kv_cache_type: "paged",
      speculative_decoding_mode: 1,
      max_draft_len: 0,
      lora_config: {},
      plugin_config: {
        gpt_attention_plugin: dtype,
        gemm_plugin: null,
        lora_plugin: null,
        remove_input_padding: true,
        paged_kv_cache: true,
        tokens_per_block: 64,
        context_fmha: fused,
        use_paged_context_fmha: fused,
        paged_state: true,
        manage_weights: false,
        pp_reduce_scatter: false,
      },
    },
    kraken: {
      plugins: pluginCount(config, ranks),
      exchange_bytes: limits.maxNumTokens * config.hiddenSize * (dtype === "float32" ? 4 : 2),
      head_dim: config.headDim,
      q_scaling: Math.sqrt(config.headDim / headSize),
    },
  };
}

/** For an option that trtllm-build has: its own name, in ours. */
export function limitNamed(name: string): keyof TrtLlmLimits {
  const known = limitNames[name.replaceAll("-", "_")];
  if (known) return known;
  const meant = closest(name, Object.keys(limitNames));
  throw new ArgumentError("ERR_OPTION", `unknown limit ${name}${meant ? `; did you mean ${meant}?` : ""}`);
}
