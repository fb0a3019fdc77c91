/**
 * createServer(): an OpenAI-compatible HTTP server in front of an Engine.
 *
 * Bounded everywhere: bodies, tokens, requests, connections, time, and what a slow reader leaves unread. It answers as
 * long as its process lives: an engine that is lost turns /health red and requests into 503, never into silence.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from "fastify";
import { pino } from "pino";
import type { Engine } from "../engine.js";
import { withIoErrors } from "../io-error.js";
import { integerOption } from "../options.js";
import { guard, isLoopback } from "./access.js";
import { Admission, Occupancy } from "./admission.js";
import { EngineHost } from "./engine-host.js";
import { ApiError, apiErrorOf } from "./errors.js";
import { Metrics } from "./metrics.js";
import { answerClientError } from "./not-http.js";
import { describe, openApiRoute } from "./openapi.js";
import { type ResolvedOptions, resolveServer, type ServerOptions } from "./options.js";
import { chatRoutes } from "./routes/chat.js";
import { completionRoutes } from "./routes/completions.js";
import { informationRoutes } from "./routes/information.js";
import { pageRoute } from "./routes/page.js";
import { tokenRoutes } from "./routes/tokens.js";
import type { Service } from "./service.js";
import { onSocketClose } from "./socket-close.js";
import { loadTracing } from "./tracing.js";
import { validationError } from "./validation.js";

declare module "fastify" {
  interface FastifyRequest {
    /** What became of a generation, for the log. */
    outcome: Record<string, string | number> | undefined;
  }
}

/** Where `listen()` listens. */
export interface ListenOptions {
  /** Default 127.0.0.1: this machine only. */
  host?: string | undefined;
  /** Default 8000; 0: any that is free. */
  port?: number | undefined;
}

/** How long cancelled requests have to say so to their clients. */
const farewellMs = 2000;

/** What `createServer()` gives: a server that does not listen yet. */
export class KrakenServer implements AsyncDisposable {
  /** Fastify's instance, to add routes and hooks of one's own before listen(). */
  readonly app: FastifyInstance;
  readonly #service: Service;
  #url: string | undefined;
  #closing: Promise<void> | undefined;

  /** @internal Use createServer(). */
  constructor(app: FastifyInstance, service: Service) {
    this.app = app;
    this.#service = service;
  }

  /** http://127.0.0.1:8000, or where it listens; undefined before listen(). */
  get url(): string | undefined {
    return this.#url;
  }

  /** What clients call the model. */
  get modelName(): string {
    return this.#service.options.modelName;
  }

  /**
   * Begins to serve; resolves with the URL. Warns in the log where everybody in the network may ask.
   * @throws ArgumentError ERR_OPTION; RuntimeError ERR_IO: the port is taken, or not ours to take
   */
  async listen({ host = "127.0.0.1", port }: ListenOptions = {}): Promise<string> {
    const { options, log } = this.#service;
    const wanted = integerOption("port", port, { min: 0, max: 65535, fallback: 8000 });
    this.#url = await withIoErrors(`listen on ${host}, port ${wanted}`, () =>
      this.app.listen({
        host,
        port: wanted,
        listenTextResolver: (url) => `${options.modelName} is served at ${url}`,
      }),
    );
    if (!isLoopback(host) && options.apiKeys.length === 0) {
      log.warn({ host }, "listens beyond this machine without API keys: whoever reaches the port may ask");
    }
    return this.#url;
  }

  /**
   * Ends the server: takes no more requests, waits up to `drainSeconds` for those that run, then cancels them, telling
   * their clients. The engine stays its owner's. Calling it again is fine; `now` cuts the waiting short.
   */
  close({ now = false } = {}): Promise<void> {
    this.#closing ??= this.#close();
    if (now) this.#cancelAll();
    return this.#closing;
  }

  /** For `await using`: `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { host, admission, answers, options } = this.#service;
    host.drain();
    const closed = this.app.close();
    await within(options.drainSeconds * 1000, admission.empty());
    this.#cancelAll();
    await within(farewellMs, admission.empty());
    // What was answered may still be on its way. Connections on which nothing is can go: also one that never was used.
    await within(farewellMs, answers.empty());
    this.app.server.closeAllConnections();
    await closed;
    await host.close();
  }

  #cancelAll(): void {
    for (const run of this.#service.runs) {
      run.fail(new ApiError("ERR_SHUTTING_DOWN", "the server is shutting down"));
    }
  }
}

/** Waits for it, but not longer than that. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const timeout = new AbortController();
  await Promise.race([work, sleep(ms, undefined, { signal: timeout.signal }).catch(() => {})]);
  timeout.abort();
}

/**
 * A server in front of the engine, which stays yours: close the server first, then dispose of the engine.
 *
 *     const server = await createServer(engine, { apiKeys: [key] });
 *     await server.listen({ port: 8000 });
 *     …
 *     await server.close();
 *
 * @throws ArgumentError ERR_OPTION
 */
export async function createServer(engine: Engine, options: ServerOptions = {}): Promise<KrakenServer> {
  const resolved = resolveServer(engine, options);
  const log = pino({ level: resolved.logLevel, base: { engine: resolved.modelName } }, resolved.logStream);
  const app = makeApp(resolved, log);
  const host = new EngineHost(engine, resolved, log);
  const admission = new Admission(resolved.maxRequests);
  const service: Service = {
    options: resolved,
    host,
    admission,
    answers: new Occupancy(),
    metrics: new Metrics(host, () => admission.inside, resolved),
    tracing: await loadTracing(),
    log,
    runs: new Set(),
  };
  await describe(app, resolved.apiKeys.length > 0);
  guard(app, resolved);
  app.addHook("onRequest", async (request) => checkRoute(app, request)); // before a body is read
  watch(app, service);
  informationRoutes(app, service);
  completionRoutes(app, service);
  chatRoutes(app, service);
  tokenRoutes(app, service);
  openApiRoute(app);
  if (resolved.page) await pageRoute(app);
  return new KrakenServer(app, service);
}

function makeApp(options: ResolvedOptions, log: pino.Logger): FastifyInstance {
  const readMs = options.readSeconds * 1000;
  const app = Fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }), // watch() has one line for each
    bodyLimit: options.maxBodyBytes,
    requestTimeout: readMs,
    http: { headersTimeout: readMs, connectionsCheckingInterval: Math.min(1000, readMs / 2) },
    return503OnClosing: false,
    genReqId({ headers }) {
      const given = headers["x-request-id"];
      return typeof given === "string" && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
    },
    clientErrorHandler: answerClientError,
    frameworkErrors(error, _, reply) {
      const answer = apiErrorOf(error);
      void (reply as FastifyReply).code(answer.status).send(answer.body());
    },
    schemaErrorFormatter: validationError,
    ajv: {
      customOptions: {
        coerceTypes: false,
        removeAdditional: false,
        useDefaults: false,
        allErrors: false,
        allowUnionTypes: true,
        verbose: true,
      },
    },
  });
  app.server.maxConnections = options.maxConnections;
  app.setSerializerCompiler(() => JSON.stringify);
  // A browser sends text/plain without asking first.
  app.removeContentTypeParser("text/plain");
  app.setErrorHandler((error, request, reply) => {
    const answer = apiErrorOf(error);
    if (answer.code === "ERR_INTERNAL") request.log.error({ err: error }, "a request failed");
    return reply.code(answer.status).headers(answer.headers).send(answer.body());
  });
  return app;
}

/** @throws ApiError for a route or method that there is not */
function checkRoute(app: FastifyInstance, request: FastifyRequest): void {
  if (!request.is404) return;
  const [path = ""] = request.url.split("?", 1);
  const url = /^\/v1\/models\/[^/]+$/.test(path) ? "/v1/models/:model" : path;
  const methods = (["GET", "POST"] as const).filter((method) => app.hasRoute({ url, method }));
  if (methods.length === 0) {
    throw new ApiError(
      "ERR_NOT_FOUND",
      `there is no ${path.slice(0, 100)} here; /openapi.json lists what is`,
    );
  }
  throw new ApiError("ERR_METHOD", `${path.slice(0, 100)} wants ${methods.join(" or ")}`, {
    headers: { allow: methods.join(", ") },
  });
}

/** Request ids, the log's line for each request, and counts of answers. */
function watch(app: FastifyInstance, { options, host, metrics, answers }: Service): void {
  app.decorateRequest("outcome", undefined);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  app.addHook("onSend", async (request, reply) => {
    if (host.draining) reply.header("connection", "close");
    // Whoever does not read its answer does not get to keep the socket.
    request.raw.socket.setTimeout(options.readSeconds * 1000);
  });
  app.addHook("onRequest", async (request, reply) => {
    // Not onResponse, which hears nothing of answers that nobody waited for.
    // Nor "close" alone: a pipelined answer whose turn never came has no socket to close.
    answers.enter();
    let ended = false;
    const end = () => {
      if (ended) return;
      ended = true;
      heedless();
      answers.leave();
      report(request, reply);
    };
    const heedless = onSocketClose(request.raw.socket, () => setImmediate(end));
    reply.raw.once("close", end);
  });
  const report = (request: FastifyRequest, reply: FastifyReply) => {
    const route = request.routeOptions.url ?? "unknown";
    metrics.http.inc({ route, status: reply.raw.statusCode });
    const level = quiet.has(route) ? "debug" : "info";
    request.log[level](
      {
        method: request.method,
        route,
        status: reply.raw.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        ...(reply.raw.writableFinished ? {} : { code: "ERR_CLIENT_GONE" }),
        ...request.outcome,
        ...(options.logPrompts && request.body !== undefined ? { body: request.body } : {}),
      },
      "request",
    );
  };
}

/** Asked again and again by machines. */
const quiet = new Set(["/health", "/metrics", "/stats"]);
