/**
 * One error class with a stable `code`; subclasses by what the user can do about it.
 * Native exceptions carry the same codes and are turned into these classes by `fromNative`.
 */

const checkpointCodes = [
  /** Not a file format we read, or truncated or otherwise damaged. */
  "ERR_CHECKPOINT_FORMAT",
  /** A pickle that asks for something outside the closed set of safe globals. */
  "ERR_CHECKPOINT_UNSAFE",
  /** Tensors missing, extra, or of a shape that contradicts the configuration. */
  "ERR_CHECKPOINT_TENSORS",
  /** A dtype that is not float32, float16 or bfloat16. */
  "ERR_CHECKPOINT_DTYPE",
  /** NaN or infinite weights. */
  "ERR_CHECKPOINT_VALUES",
  /** The configuration is missing, contradictory or of an unsupported model. */
  "ERR_CONFIG",
] as const;

const argumentCodes = [
  /** An option of a wrong type or range, unknown, or contradicting another. */
  "ERR_OPTION",
  /** The model cannot be split over that many ranks. */
  "ERR_RANKS",
  /** Prompt and output are longer than the model's positions or the engine's limit. */
  "ERR_CONTEXT_LENGTH",
  /** A token id outside the vocabulary. */
  "ERR_TOKEN_RANGE",
  "ERR_EMPTY_PROMPT",
  /** Text was given to an engine that has no tokenizer. */
  "ERR_NO_TOKENIZER",
  /** A file of texts or examples is not what it should be; the message names file and line. */
  "ERR_DATA",
] as const;

const engineCodes = [
  /** A file is missing or its bytes differ from what the manifest records. */
  "ERR_ENGINE_CORRUPT",
  /** Written by a newer (or no longer readable) format version. */
  "ERR_ENGINE_VERSION",
  /** Built for another backend; or by another TensorRT, or for another kind of GPU, than there is here. */
  "ERR_ENGINE_BACKEND",
  /** The directory is not an engine, or the output of a build exists already. */
  "ERR_ENGINE_PATH",
] as const;

/** Something is wrong with the checkpoint: fix or replace the file. */
export type CheckpointErrorCode = (typeof checkpointCodes)[number];
/** The call's arguments are wrong: change them. */
export type ArgumentErrorCode = (typeof argumentCodes)[number];
/** The engine directory cannot be used as it is: rebuild it. */
export type EngineErrorCode = (typeof engineCodes)[number];
/** The machine or the state of the engine does not allow it now. */
export type RuntimeErrorCode =
  /** Reading or writing a file failed (disk full, permissions). */
  | "ERR_IO"
  | "ERR_OUT_OF_MEMORY"
  /** The request can never fit the key/value cache, or the cache is exhausted. */
  | "ERR_OUT_OF_KV_CACHE"
  | "ERR_QUEUE_FULL"
  /** The engine was disposed. */
  | "ERR_DISPOSED"
  /** This build or machine lacks a backend; the message says what is missing. */
  | "ERR_BACKEND_UNAVAILABLE"
  /** The backend's compiler or runtime refused or broke down; the message repeats what it said. */
  | "ERR_BACKEND_FAILED"
  /** The devices of an engine cannot exchange sums: no way between them, or NCCL does not start. */
  | "ERR_COMMUNICATION"
  /** The addon, or the kraken-worker that `isolation: "process"` needs, is missing or of another build. */
  | "ERR_NATIVE_LOAD"
  /** A rank on another host could not be started, did not answer, or does not know the secret. */
  | "ERR_HOSTS"
  /** A rank failed, or the process or host it ran on was lost; every pending request is rejected with it. */
  | "ERR_RANK_LOST"
  /** A bug of ours; please report it with `kraken doctor`. */
  | "ERR_INTERNAL";

/** Every code; none is ever given another meaning. */
export type KrakenErrorCode = CheckpointErrorCode | ArgumentErrorCode | EngineErrorCode | RuntimeErrorCode;

/** What this library throws and rejects with: a stable `code`, and a message that says what was expected and what was given. */
export class KrakenError<Code extends KrakenErrorCode = KrakenErrorCode> extends Error {
  override readonly name: string = "KrakenError";
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A checkpoint cannot be read. */
export class CheckpointError extends KrakenError<CheckpointErrorCode> {
  override readonly name = "CheckpointError";
}

/** An argument is wrong; thrown before anything is done. */
export class ArgumentError extends KrakenError<ArgumentErrorCode> {
  override readonly name = "ArgumentError";
}

/** An engine directory cannot be used. */
export class EngineDirectoryError extends KrakenError<EngineErrorCode> {
  override readonly name = "EngineDirectoryError";
}

/** The machine or the engine's state does not allow it. */
export class RuntimeError extends KrakenError<RuntimeErrorCode> {
  override readonly name = "RuntimeError";
}

function isOneOf<Code extends string>(codes: readonly Code[], code: string): code is Code {
  return (codes as readonly string[]).includes(code);
}

/** The KrakenError for a stable code that crossed from native code. */
export function errorFromCode(code: string, message: string, options?: ErrorOptions): KrakenError {
  if (isOneOf(checkpointCodes, code)) return new CheckpointError(code, message, options);
  if (isOneOf(argumentCodes, code)) return new ArgumentError(code, message, options);
  if (isOneOf(engineCodes, code)) return new EngineDirectoryError(code, message, options);
  return new RuntimeError(code as RuntimeErrorCode, message, options);
}

/** Turns an error thrown by the addon (it carries a `code`) into the matching KrakenError. */
export function fromNative(error: unknown): unknown {
  if (error instanceof KrakenError || !(error instanceof Error)) return error;
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" && code.startsWith("ERR_") && !code.startsWith("ERR_NAPI")
    ? errorFromCode(code, error.message, { cause: error })
    : error;
}
