/**
 * Errors as OpenAI's clients read them: {"error": {message, type, param, code}}, with our stable code. Retries are the
 * client's business, so the status says whether one can help: 4xx it cannot (429 it can, later), 5xx it can.
 */
import { KrakenError, type KrakenErrorCode } from "../errors.js";

/** What only a server can have against a request. */
export type ServerErrorCode =
  /** No API key, or none of ours. */
  | "ERR_UNAUTHORIZED"
  /** A page of another origin asks. */
  | "ERR_ORIGIN"
  | "ERR_NOT_FOUND"
  | "ERR_METHOD"
  | "ERR_MODEL_NOT_FOUND"
  /** The body is not JSON, or not said to be. */
  | "ERR_BODY"
  | "ERR_BODY_TOO_LARGE"
  /** Something OpenAI has and this server does not. */
  | "ERR_NOT_SUPPORTED"
  /** Too many requests at the same time. */
  | "ERR_BUSY"
  | "ERR_DEADLINE"
  /** The client reads too slowly. */
  | "ERR_SLOW_READER"
  /** The client is gone; nobody sees this one. */
  | "ERR_CLIENT_GONE"
  | "ERR_SHUTTING_DOWN";

export type ApiErrorCode = ServerErrorCode | KrakenErrorCode;

export interface ApiErrorBody {
  error: { message: string; type: string; param: string | null; code: ApiErrorCode };
}

const statusOfServerCode: Record<ServerErrorCode, number> = {
  ERR_UNAUTHORIZED: 401,
  ERR_ORIGIN: 403,
  ERR_NOT_FOUND: 404,
  ERR_METHOD: 405,
  ERR_MODEL_NOT_FOUND: 404,
  ERR_BODY: 400,
  ERR_BODY_TOO_LARGE: 413,
  ERR_NOT_SUPPORTED: 400,
  ERR_BUSY: 429,
  ERR_DEADLINE: 504,
  ERR_SLOW_READER: 408,
  ERR_CLIENT_GONE: 499,
  ERR_SHUTTING_DOWN: 503,
};

const statusOfEngineCode: Partial<Record<KrakenErrorCode, number>> = {
  ERR_OPTION: 400,
  ERR_CONTEXT_LENGTH: 400,
  ERR_TOKEN_RANGE: 400,
  ERR_EMPTY_PROMPT: 400,
  ERR_NO_TOKENIZER: 400,
  ERR_OUT_OF_KV_CACHE: 400,
  ERR_QUEUE_FULL: 429,
  ERR_RANK_LOST: 503,
  ERR_DISPOSED: 503,
  ERR_OUT_OF_MEMORY: 503,
};

/** An answer that is not 2xx. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly headers: Record<string, string>;

  constructor(
    readonly code: ApiErrorCode,
    message: string,
    {
      status,
      param = null,
      headers = {},
      cause,
    }: { status?: number; param?: string | null; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.status =
      status ??
      statusOfServerCode[code as ServerErrorCode] ??
      statusOfEngineCode[code as KrakenErrorCode] ??
      500;
    this.param = param;
    this.headers = headers;
  }

  readonly param: string | null;

  body(): ApiErrorBody {
    return {
      error: { message: this.message, type: typeOf(this.status), param: this.param, code: this.code },
    };
  }
}

function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 404) return "not_found_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

/** The library speaks of `maxTokens`, the API of `max_tokens`. */
export const snakeCase = (name: string): string =>
  name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const inApiWords = (message: string): string =>
  message.replaceAll(/`([a-z]+[a-zA-Z]*)`/g, (_, name: string) => `\`${snakeCase(name)}\``);

/** Whatever was thrown, as an answer. What is not of ours is a bug, and its message nobody else's business. */
export function apiErrorOf(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof KrakenError) {
    const param = /`([a-zA-Z]+)`/.exec(error.message)?.[1];
    return new ApiError(error.code, inApiWords(error.message), {
      param: error.code === "ERR_OPTION" && param ? snakeCase(param) : null,
      cause: error,
    });
  }
  const { statusCode, code } = error as { statusCode?: unknown; code?: unknown };
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    return new ApiError("ERR_BODY_TOO_LARGE", "the body is larger than this server takes", { cause: error });
  }
  if (typeof statusCode === "number" && statusCode >= 400 && statusCode < 500) {
    const message = error instanceof Error ? error.message : "the request cannot be read";
    return new ApiError("ERR_BODY", message, { status: statusCode, cause: error });
  }
  return new ApiError("ERR_INTERNAL", "the server failed; its log has the details", { cause: error });
}
