/**
 * One error class with a stable `code`; subclasses by what the user can do about it.
 * Native exceptions carry the same codes and are turned into these classes by `fromNative`.
 */

/** Something is wrong with the checkpoint: fix or replace the file. */
export type CheckpointErrorCode =
  /** Not a file format we read, or truncated or otherwise damaged. */
  | "ERR_CHECKPOINT_FORMAT"
  /** A pickle that asks for something outside the closed set of safe globals. */
  | "ERR_CHECKPOINT_UNSAFE"
  /** Tensors missing, extra, or of a shape that contradicts the configuration. */
  | "ERR_CHECKPOINT_TENSORS"
  /** A dtype that is not float32, float16 or bfloat16. */
  | "ERR_CHECKPOINT_DTYPE"
  /** NaN or infinite weights. */
  | "ERR_CHECKPOINT_VALUES"
  /** The configuration is missing, contradictory or of an unsupported model. */
  | "ERR_CONFIG";

/** The call's arguments are wrong: change them. */
export type ArgumentErrorCode =
  | "ERR_OPTION"
  | "ERR_RANKS"
  | "ERR_CONTEXT_LENGTH"
  | "ERR_TOKEN_RANGE"
  | "ERR_EMPTY_PROMPT"
  | "ERR_NO_TOKENIZER";

/** The engine directory cannot be used as it is: rebuild it. */
export type EngineErrorCode =
  /** A file is missing or its bytes differ from what the manifest records. */
  | "ERR_ENGINE_CORRUPT"
  /** Written by a newer (or no longer readable) format version. */
  | "ERR_ENGINE_VERSION"
  /** Built for another backend. */
  | "ERR_ENGINE_BACKEND"
  /** The directory is not an engine, or the output of a build exists already. */
  | "ERR_ENGINE_PATH";

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
  | "ERR_NATIVE_LOAD"
  /** A rank failed; every pending request is rejected with it. */
  | "ERR_RANK_LOST"
  /** A bug of ours; please report it with `kraken doctor`. */
  | "ERR_INTERNAL";

export type KrakenErrorCode = CheckpointErrorCode | ArgumentErrorCode | EngineErrorCode | RuntimeErrorCode;

export class KrakenError extends Error {
  override readonly name: string = "KrakenError";
  readonly code: KrakenErrorCode;

  constructor(code: KrakenErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A checkpoint cannot be read. */
export class CheckpointError extends KrakenError {
  override readonly name = "CheckpointError";
  constructor(
    override readonly code: CheckpointErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

/** An argument is wrong; thrown before anything is done. */
export class ArgumentError extends KrakenError {
  override readonly name = "ArgumentError";
  constructor(
    override readonly code: ArgumentErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

/** An engine directory cannot be used. */
export class EngineDirectoryError extends KrakenError {
  override readonly name = "EngineDirectoryError";
  constructor(
    override readonly code: EngineErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

/** The machine or the engine's state does not allow it. */
export class RuntimeError extends KrakenError {
  override readonly name = "RuntimeError";
  constructor(
    override readonly code: RuntimeErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

const checkpointCodes: ReadonlySet<string> = new Set<CheckpointErrorCode>([
  "ERR_CHECKPOINT_FORMAT",
  "ERR_CHECKPOINT_UNSAFE",
  "ERR_CHECKPOINT_TENSORS",
  "ERR_CHECKPOINT_DTYPE",
  "ERR_CHECKPOINT_VALUES",
  "ERR_CONFIG",
]);
const argumentCodes: ReadonlySet<string> = new Set<ArgumentErrorCode>([
  "ERR_OPTION",
  "ERR_RANKS",
  "ERR_CONTEXT_LENGTH",
  "ERR_TOKEN_RANGE",
  "ERR_EMPTY_PROMPT",
  "ERR_NO_TOKENIZER",
]);
const engineCodes: ReadonlySet<string> = new Set<EngineErrorCode>([
  "ERR_ENGINE_CORRUPT",
  "ERR_ENGINE_VERSION",
  "ERR_ENGINE_BACKEND",
  "ERR_ENGINE_PATH",
]);

/** The KrakenError for a stable code that crossed from native code. */
export function errorFromCode(code: string, message: string, options?: ErrorOptions): KrakenError {
  if (checkpointCodes.has(code)) return new CheckpointError(code as CheckpointErrorCode, message, options);
  if (argumentCodes.has(code)) return new ArgumentError(code as ArgumentErrorCode, message, options);
  if (engineCodes.has(code)) return new EngineDirectoryError(code as EngineErrorCode, message, options);
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
