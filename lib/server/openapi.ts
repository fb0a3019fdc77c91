/** The OpenAPI document: generated from the schemas that validate, served at /openapi.json. */
import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { version } from "../version.js";
import { errorResponse } from "./schemas/responses.js";

/** Must be awaited before routes are added: it watches them come. */
export async function describe(app: FastifyInstance, withKeys: boolean): Promise<void> {
  app.addSchema(errorResponse);
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "kraken-engine",
        version,
        description: "An OpenAI-compatible server. Fields beyond OpenAI's have vLLM's names.",
      },
      ...(withKeys && {
        components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
        security: [{ key: [] }],
      }),
    },
    refResolver: { buildLocalReference: (json, _, __, i) => (json.$id as string | undefined) ?? `def-${i}` },
  });
}

export function openApiRoute(app: FastifyInstance): void {
  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
}
