/** kraken-engine: build inference engines for Kraken transformers and run them. The public names, nothing else. */
export {
  type BuildOptions,
  type BuildPlan,
  type BuildProgress,
  type BuildSummary,
  buildEngine,
} from "./build.js";
export type {
  CheckpointIndex,
  ConstantTensor,
  FileTensor,
  RandomTensor,
  StoredDType,
  TensorView,
  TokenizerSource,
} from "./checkpoint/checkpoint-index.js";
export {
  type DisposeOptions,
  Engine,
  type EngineStats,
  type LogitsResult,
  type ScoreOptions,
  type ScoreResult,
} from "./engine.js";
export type { EngineFile, EngineManifest, EngineTokenizer } from "./engine-directory.js";
export type { Isolation, LoadOptions } from "./engine-options.js";
export {
  ArgumentError,
  type ArgumentErrorCode,
  CheckpointError,
  type CheckpointErrorCode,
  EngineDirectoryError,
  type EngineErrorCode,
  KrakenError,
  type KrakenErrorCode,
  RuntimeError,
  type RuntimeErrorCode,
} from "./errors.js";
export type { Generation, GenerationResult, GenerationTiming } from "./generation.js";
export type {
  Activation,
  Architecture,
  CommonConfig,
  DType,
  GptConfig,
  KrakenConfig,
  LadderConfig,
  ModelConfig,
  NormConfig,
  ParallelConfig,
  PositionConfig,
} from "./model-config.js";
export type { NativeRankPlan } from "./native.js";
export type { Prompt } from "./prompt.js";
export { type Pushed, type PushOptions, pushEngine } from "./push.js";
export type { FinishReason, GenerationEvent, SampleResult, TokenLogprob } from "./sample-stream.js";
export type { GenerateOptions } from "./sampling.js";
export type { StepLimits } from "./step-limits.js";
export type { TensorRtFacts } from "./tensorrt.js";
export type { DecodeOptions, EncodeOptions, StreamDecoder, StreamOptions, Tokenizer } from "./tokenizer.js";
export type { TrtLlmConfig } from "./trtllm/config.js";
export { version } from "./version.js";
