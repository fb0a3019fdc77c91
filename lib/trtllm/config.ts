/**
 * What TensorRT-LLM reads of an engine directory's config.json: pretrained_config, build_config and plugin_config, under
 * the names its 1.2 line has for them. They lie in the same file as our manifest; each side ignores the other's keys.
 *
 * TensorRT-LLM knows one stack of heads per rank. A rank's ways share one attention call, so the engine tells it of
 * ways × heads, and of the head size that its kernels take; the scale stays that of the true one (q_scaling).
 */
import { ArgumentError } from "../errors.js";
import { type DType, type ModelConfig, waysOf } from "../model-config.js";
import { booleanOption, integerOption } from "../options.js";
import type { StepLimits } from "../step-limits.js";

export const trtllmName = "tensorrt-llm";

/** The release that engines are built for and run by. 1.3 removed TensorRT engines. */
export const trtllmVersion = "1.2.1";

/** Head sizes that both of its attention kernels have, for prompts and for single tokens. */
const headSizes = [32, 48, 64, 80, 96, 104, 128, 160, 192, 256];

/** What an engine is built for; loading can only lower it. trtllm-build calls them max_batch_size and so on. */
export interface TrtLlmLimits extends StepLimits {
  /** Tokens of the longest prompt. */
  maxInputLength: number;
  /** Logits of every token of a prompt: score() and logits() need it, and prompts then take longer. */
  gatherContextLogits: boolean;
  /** Rank r runs on GPU r modulo this of its node. */
  gpusPerNode: number;
}

export interface TrtLlmLimitOptions {
  maxInputLength?: number | undefined;
  gatherContextLogits?: boolean | undefined;
  gpusPerNode?: number | undefined;
}

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

/** Its attention kernels for whole prompts, which alone can compute one in chunks, have no float32. */
export const fusesPrompts = (dtype: DType): boolean => dtype !== "float32";

/** @throws ArgumentError ERR_OPTION naming the option */
export function trtllmLimits(options: TrtLlmLimitOptions, steps: StepLimits, dtype: DType): TrtLlmLimits {
  const { maxSequenceLength, maxStepTokens } = steps;
  const maxInputLength = integerOption("maxInputLength", options.maxInputLength, {
    min: 1,
    fallback: Math.max(1, maxSequenceLength - 1),
  });
  if (maxInputLength >= maxSequenceLength) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`maxInputLength\` must be less than the longest sequence (${maxSequenceLength}), which counts the output too; got ${maxInputLength}`,
    );
  }
  if (!fusesPrompts(dtype) && maxInputLength > maxStepTokens) {
    throw new ArgumentError(
      "ERR_OPTION",
      `a ${dtype} engine of backend "tensorrt-llm" computes a prompt in one step: \`maxStepTokens\` (${maxStepTokens}) must ` +
        `be at least \`maxInputLength\` (${maxInputLength})`,
    );
  }
  return {
    ...steps,
    maxInputLength,
    gatherContextLogits: booleanOption("gatherContextLogits", options.gatherContextLogits, false),
    gpusPerNode: integerOption("gpusPerNode", options.gpusPerNode, { min: 1, max: 64, fallback: 8 }),
  };
}

/** @throws ArgumentError ERR_OPTION for what its engines cannot be */
export function checkTrtLlmBuild(options: {
  dtype: DType | undefined;
  communication: "none" | undefined;
}): void {
  if (options.dtype === "int8") {
    throw new ArgumentError(
      "ERR_OPTION",
      '`dtype` "int8" is for backend "cpu"; a tensorrt-llm engine is "bfloat16", "float16" or "float32"',
    );
  }
  if (options.communication !== undefined) {
    throw new ArgumentError(
      "ERR_OPTION",
      '`communication` "none" is for benchmarks of backends "cpu" and "tensorrt"; leave it out',
    );
  }
}

/** @throws ArgumentError ERR_OPTION for limits of its engines alone */
export function checkNotTrtLlm(options: TrtLlmLimitOptions): void {
  for (const name of ["maxInputLength", "gatherContextLogits", "gpusPerNode"] as const) {
    if (options[name] === undefined) continue;
    throw new ArgumentError("ERR_OPTION", `\`${name}\` is for backend "tensorrt-llm"`);
  }
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

/** Plugins of ours in the engine of one rank: each exchange has a start and a join, each blocking sum over ranks one. */
function pluginCount(network: Record<string, number>, ranks: number): number {
  const of = (kind: string) => network[kind] ?? 0;
  const logits = ranks === 1 ? 0 : 1;
  return of("StartNorm") + of("JoinNorm") + of("JoinAdd") + (ranks === 1 ? 0 : of("AllReduce")) + logits;
}

export function trtllmConfig(
  config: ModelConfig,
  {
    ranks,
    dtype,
    limits,
    network,
  }: {
    ranks: number;
    dtype: DType;
    limits: TrtLlmLimits;
    /** Ops of a rank's Graph by their kind. */
    network: Record<string, number>;
  },
): TrtLlmConfig {
  const ways = waysOf(config);
  const headSize = paddedHeadDim(config.headDim);
  const fused = fusesPrompts(dtype);
  const { positions } = config;
  const rows = limits.gatherContextLogits ? limits.maxStepTokens : limits.maxBatchSize;
  return {
    version: trtllmVersion,
    pretrained_config: {
      // Its name decides nothing here, as long as it is none that TensorRT-LLM treats apart.
      architecture: `${config.architecture[0]!.toUpperCase()}${config.architecture.slice(1)}ForCausalLM`,
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
      mapping: {
        world_size: ranks,
        tp_size: ranks,
        pp_size: 1,
        cp_size: 1,
        gpus_per_node: limits.gpusPerNode,
      },
      quantization: { quant_algo: null, kv_cache_quant_algo: null },
    },
    build_config: {
      max_batch_size: limits.maxBatchSize,
      max_beam_width: 1,
      max_input_len: limits.maxInputLength,
      max_seq_len: limits.maxSequenceLength,
      max_num_tokens: limits.maxStepTokens,
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
      plugins: pluginCount(network, ranks),
      exchange_bytes: Math.max(
        limits.maxStepTokens * config.hiddenSize * (dtype === "float32" ? 4 : 2),
        // Logits of all ranks are a sum as well (native/backend/trtllm/network).
        ranks === 1 ? 0 : rows * Math.ceil(config.vocabSize / ranks) * ranks * 4,
      ),
      head_dim: config.headDim,
      q_scaling: Math.sqrt(config.headDim / headSize),
    },
  };
}
