/**
 * kraken-engine/server: an OpenAI-compatible HTTP server in front of an Engine. An entry of its own, so that who only
 * wants the engine does not load a web framework.
 */
export type { ApiErrorBody, ApiErrorCode, ServerErrorCode } from "./errors.js";
export type { LogLevel, LogStream, ServerOptions } from "./options.js";
export { createServer, type KrakenServer, type ListenOptions } from "./server.js";
