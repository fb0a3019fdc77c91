/** The options of createServer(), validated and filled in. Every limit has a bound by default. */
import type { Engine } from "../engine.js";
import { ArgumentError } from "../errors.js";
import { booleanOption, checkKeys, integerOption, numberOption, optionError } from "../options.js";

/** Takes log lines; any of Node's writable streams is one. */
export interface LogStream {
  /** One line of JSON, with its end. */
  write(line: string): unknown;
}

/** Options of `createServer()`. All have defaults. */
export interface ServerOptions {
  /** The name clients give as `model`. Default: the last part of the engine's directory. */
  modelName?: string | undefined;
  /** One of these must come as `Authorization: Bearer …`. Default: none, everybody who reaches the port may ask. */
  apiKeys?: readonly string[] | undefined;
  /** Origins (`https://example.org`) whose pages may ask; `"*"`: all. Default: only this server's own page. */
  corsOrigins?: readonly string[] | undefined;
  /** Serve the page at `/`. Default true. */
  page?: boolean | undefined;
  /** Largest body in bytes. Default 1 MiB. */
  maxBodyBytes?: number | undefined;
  /** Most tokens of a prompt. Default: what the engine takes. */
  maxPromptTokens?: number | undefined;
  /** Most tokens of an output. Default: what the engine takes. */
  maxOutputTokens?: number | undefined;
  /** Most continuations that one request may ask for: its prompts times `n`. Default 128. */
  maxSamples?: number | undefined;
  /** Requests that are served or wait for the engine; one more gets 429. Default 256. */
  maxRequests?: number | undefined;
  /** Connections; one more is closed at once. Default 1024. */
  maxConnections?: number | undefined;
  /** Seconds a request may take in all. Default 600. */
  deadlineSeconds?: number | undefined;
  /** Bytes of a response that may wait for its reader; beyond, the request is cancelled. Default 1 MiB. */
  maxUnsentBytes?: number | undefined;
  /** Seconds without progress after which a reader is given up, and in which a request must have come. Default 30. */
  readSeconds?: number | undefined;
  /** Seconds without a token after which a stream gets a comment, so that nothing between closes it. Default 15. */
  keepAliveSeconds?: number | undefined;
  /** Seconds that close() waits for what runs before it cancels it. Default 30. */
  drainSeconds?: number | undefined;
  /** Seconds without a step, while requests run, after which /health turns red. Default 30. */
  stallSeconds?: number | undefined;
  /**
   * Loads the engine again when its ranks are lost; until then requests get 503. The server disposes of what this
   * gives it. Default: none, the server stays red (see `onEngineLost`).
   */
  reload?: (() => Promise<Engine>) | undefined;
  /** Told once for each engine that is lost, after its requests were answered. */
  onEngineLost?: ((reason: string) => void) | undefined;
  /** Default "info"; "silent" for none. */
  logLevel?: LogLevel | undefined;
  /** Where log lines (JSON) go. Default: stderr. */
  logStream?: LogStream | undefined;
  /** Log prompts and outputs, too. Default false. */
  logPrompts?: boolean | undefined;
  /** Also export Node's own metrics: memory, garbage collection, event loop. Default false. */
  processMetrics?: boolean | undefined;
}

export const logLevels = ["silent", "fatal", "error", "warn", "info", "debug", "trace"] as const;
/** pino's levels. */
export type LogLevel = (typeof logLevels)[number];

export interface ResolvedOptions {
  modelName: string;
  apiKeys: readonly string[];
  corsOrigins: readonly string[];
  page: boolean;
  maxBodyBytes: number;
  maxPromptTokens: number;
  maxOutputTokens: number;
  maxSamples: number;
  maxRequests: number;
  maxConnections: number;
  deadlineSeconds: number;
  maxUnsentBytes: number;
  readSeconds: number;
  keepAliveSeconds: number;
  drainSeconds: number;
  stallSeconds: number;
  reload: (() => Promise<Engine>) | undefined;
  onEngineLost: ((reason: string) => void) | undefined;
  logLevel: LogLevel;
  logStream: LogStream;
  logPrompts: boolean;
  processMetrics: boolean;
}

const known: readonly (keyof ServerOptions)[] = [
  "modelName",
  "apiKeys",
  "corsOrigins",
  "page",
  "maxBodyBytes",
  "maxPromptTokens",
  "maxOutputTokens",
  "maxSamples",
  "maxRequests",
  "maxConnections",
  "deadlineSeconds",
  "maxUnsentBytes",
  "readSeconds",
  "keepAliveSeconds",
  "drainSeconds",
  "stallSeconds",
  "reload",
  "onEngineLost",
  "logLevel",
  "logStream",
  "logPrompts",
  "processMetrics",
];

const seconds = (name: string, value: unknown, fallback: number): number =>
  numberOption(name, value, {
    expected: "a number of seconds above 0, at most 86400",
    accept: (s) => s > 0 && s <= 86400,
    fallback,
  });

function stringsOption(name: string, value: unknown, expected: string): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw optionError(name, expected, value);
  for (const entry of value) {
    if (typeof entry !== "string" || entry === "") throw optionError(name, expected, entry);
  }
  return [...value];
}

/** Keys that are too short, or could not come in a header, are mistakes. Their values appear in no message. */
function apiKeysOption(value: unknown): readonly string[] {
  const keys = stringsOption("apiKeys", value, "a list of keys");
  if (keys.some((key) => key.length < 16 || !/^[\x21-\x7e]+$/.test(key))) {
    throw new ArgumentError(
      "ERR_OPTION",
      "`apiKeys`: a key must be at least 16 printable ASCII characters without spaces (openssl rand -hex 32 makes one)",
    );
  }
  if (value !== undefined && keys.length === 0) {
    throw new ArgumentError("ERR_OPTION", "`apiKeys` is empty: leave it out to let everybody in");
  }
  return keys;
}

function corsOption(value: unknown): readonly string[] {
  const origins = stringsOption("corsOrigins", value, 'a list of origins, such as "https://example.org"');
  for (const origin of origins) {
    if (origin === "*") continue;
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw optionError("corsOrigins", 'origins without a path, such as "https://example.org"', origin);
    }
  }
  return origins;
}

function functionOption<F>(name: string, value: F | undefined): F | undefined {
  if (value !== undefined && typeof value !== "function") throw optionError(name, "a function", value);
  return value;
}

/** @throws ArgumentError ERR_OPTION */
export function resolveServer(engine: Engine, options: ServerOptions): ResolvedOptions {
  checkKeys("createServer", options, known);
  const { modelName, logLevel = "info", logStream = process.stderr } = options;
  if (modelName !== undefined && (typeof modelName !== "string" || modelName === "")) {
    throw optionError("modelName", "a name", modelName);
  }
  if (!logLevels.includes(logLevel))
    throw optionError("logLevel", `one of ${logLevels.join(", ")}`, logLevel);
  if (typeof logStream?.write !== "function") throw optionError("logStream", "a stream", logStream);
  const length = engine.maxSequenceLength;
  const mebibyte = 1 << 20;
  return {
    modelName: modelName ?? (engine.directory.split("/").findLast(Boolean) || "kraken"),
    apiKeys: apiKeysOption(options.apiKeys),
    corsOrigins: corsOption(options.corsOrigins),
    page: booleanOption("page", options.page, true),
    maxBodyBytes: integerOption("maxBodyBytes", options.maxBodyBytes, { min: 1, fallback: mebibyte }),
    maxPromptTokens: Math.min(
      integerOption("maxPromptTokens", options.maxPromptTokens, { min: 1, fallback: length }),
      length,
    ),
    maxOutputTokens: Math.min(
      integerOption("maxOutputTokens", options.maxOutputTokens, { min: 1, fallback: length }),
      length,
    ),
    maxSamples: integerOption("maxSamples", options.maxSamples, { min: 1, fallback: 128 }),
    maxRequests: integerOption("maxRequests", options.maxRequests, { min: 1, fallback: 256 }),
    maxConnections: integerOption("maxConnections", options.maxConnections, { min: 1, fallback: 1024 }),
    deadlineSeconds: seconds("deadlineSeconds", options.deadlineSeconds, 600),
    maxUnsentBytes: integerOption("maxUnsentBytes", options.maxUnsentBytes, { min: 1, fallback: mebibyte }),
    readSeconds: seconds("readSeconds", options.readSeconds, 30),
    keepAliveSeconds: seconds("keepAliveSeconds", options.keepAliveSeconds, 15),
    drainSeconds: seconds("drainSeconds", options.drainSeconds, 30),
    stallSeconds: seconds("stallSeconds", options.stallSeconds, 30),
    reload: functionOption("reload", options.reload),
    onEngineLost: functionOption("onEngineLost", options.onEngineLost),
    logLevel,
    logStream,
    logPrompts: booleanOption("logPrompts", options.logPrompts, false),
    processMetrics: booleanOption("processMetrics", options.processMetrics, false),
  };
}
