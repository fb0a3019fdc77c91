/** What the server is and how it does: /v1/models, /health, /version, /metrics, /stats; and what it does not have. */

import type { FastifyInstance } from "fastify";
import Type from "typebox";
import { waysOf } from "../../model-config.js";
import { version } from "../../version.js";
import { ApiError } from "../errors.js";
import { errors, json } from "../schemas/responses.js";
import type { Service } from "../service.js";

const model = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal("model"),
    created: Type.Integer(),
    owned_by: Type.String(),
    max_model_len: Type.Integer(),
  },
  { $id: "Model" },
);

const health = Type.Object(
  {
    status: Type.Unsafe<string>({ enum: ["ok", "lost", "reloading", "stalled", "draining"] }),
    reason: Type.Optional(Type.String()),
    ranksAlive: Type.Integer(),
    ranks: Type.Integer(),
  },
  { $id: "Health" },
);

const numbers = Type.Array(Type.Number());
const stats = Type.Object(
  {
    architecture: Type.String(),
    ways: Type.Integer(),
    ranks: Type.Integer(),
    layers: Type.Integer(),
    dtype: Type.String(),
    steps: Type.Integer(),
    running: Type.Integer(),
    waiting: Type.Integer(),
    promptTokens: Type.Integer(),
    generatedTokens: Type.Integer(),
    kvBlocks: Type.Integer(),
    kvBlocksUsed: Type.Integer(),
    stepMsTotal: Type.Number({ description: "Milliseconds in steps since load." }),
    collectiveMs: Type.Unsafe<number[]>({
      ...numbers,
      description: "Of each rank since load: from the start of each exchange to its arrival, hidden or not.",
    }),
    hiddenMs: Type.Unsafe<number[]>({
      ...numbers,
      description: "Of each rank since load: of these, milliseconds in which it did something else.",
    }),
    exposedMs: Type.Unsafe<number[]>({
      ...numbers,
      description: "Of each rank since load: milliseconds waited for collectives.",
    }),
  },
  { $id: "Stats" },
);

export function informationRoutes(app: FastifyInstance, { host, metrics, options }: Service): void {
  for (const schema of [model, health, stats]) app.addSchema(schema);
  const since = Math.floor(Date.now() / 1000);
  const theModel = () => ({
    id: options.modelName,
    object: "model",
    created: since,
    owned_by: "kraken-engine",
    max_model_len: host.description.maxSequenceLength,
  });
  const closed = [401, 403, 500] as const;

  const models = Type.Object({
    object: Type.Literal("list"),
    data: Type.Array(Type.Unsafe({ $ref: "Model#" })),
  });
  app.get(
    "/v1/models",
    {
      schema: {
        operationId: "listModels",
        summary: "The model there is",
        response: { 200: json(models, "A list of one."), ...errors(...closed) },
      },
    },
    async () => ({ object: "list", data: [theModel()] }),
  );
  app.get<{ Params: { model: string } }>(
    "/v1/models/:model",
    {
      schema: {
        operationId: "retrieveModel",
        summary: "The model of that name",
        params: Type.Object({ model: Type.String() }),
        response: { 200: json({ $ref: "Model#" }, "The model."), ...errors(...closed, 404) },
      },
    },
    async ({ params }) => {
      if (params.model === options.modelName) return theModel();
      const name = JSON.stringify(params.model.slice(0, 100));
      throw new ApiError("ERR_MODEL_NOT_FOUND", `there is no model ${name} here`, { param: "model" });
    },
  );

  app.get(
    "/health",
    {
      schema: {
        operationId: "health",
        summary: "Whether requests are served: all ranks live, and steps end",
        response: {
          200: json({ $ref: "Health#" }, "They are."),
          503: json({ $ref: "Health#" }, "They are not; `reason` says why."),
        },
      },
    },
    async (_, reply) => {
      const report = host.health();
      return reply.code(report.status === "ok" ? 200 : 503).send(report);
    },
  );
  app.get(
    "/version",
    {
      schema: {
        operationId: "version",
        summary: "The version of kraken-engine",
        response: {
          200: json(Type.Object({ version: Type.String() }), "The version."),
          ...errors(...closed),
        },
      },
    },
    async () => ({ version }),
  );
  app.get(
    "/metrics",
    {
      schema: {
        operationId: "metrics",
        summary: "Metrics for Prometheus",
        response: {
          200: { description: "Metrics.", content: { "text/plain": { schema: { type: "string" } } } },
          ...errors(...closed),
        },
      },
    },
    async (_, reply) => reply.type(metrics.registry.contentType).send(await metrics.text()),
  );
  app.get(
    "/stats",
    {
      schema: {
        operationId: "stats",
        summary: "The engine's counts since load: what the page draws",
        response: { 200: json({ $ref: "Stats#" }, "The counts."), ...errors(...closed, 503) },
      },
    },
    async () => {
      const { manifest, config } = host.engine;
      const now = host.stats();
      if (!now) throw new ApiError("ERR_DISPOSED", "the engine was disposed");
      return {
        architecture: config.architecture,
        ways: waysOf(config),
        ranks: manifest.ranks,
        layers: config.layers,
        dtype: manifest.dtype,
        steps: now.steps,
        running: now.running,
        waiting: now.waiting,
        promptTokens: now.promptTokens,
        generatedTokens: now.generatedTokens,
        kvBlocks: now.kvBlocks,
        kvBlocksUsed: now.kvBlocksUsed,
        stepMsTotal: now.stepMsTotal,
        collectiveMs: now.collectiveMs,
        hiddenMs: now.hiddenMs,
        exposedMs: now.exposedMs,
      };
    },
  );

  app.post(
    "/v1/embeddings",
    {
      schema: {
        operationId: "embeddings",
        summary: "Not here: this model generates text",
        response: errors(400, 401, 403, 413, 415, 500),
      },
    },
    async () => {
      throw new ApiError(
        "ERR_NOT_SUPPORTED",
        "this model generates text and gives no embeddings; use an embedding model's server for them",
      );
    },
  );
}
