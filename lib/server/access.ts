/**
 * Who may ask. With API keys: who knows one. Without: whoever reaches the port, but no page of another site, whatever
 * name it gave this machine (DNS rebinding): browsers send an Origin with every POST, and it must be ours.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { ApiError } from "./errors.js";
import type { ResolvedOptions } from "./options.js";

/** Says nothing that is worth a key. */
const open = new Set(["/", "/health"]);

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);

export function guard(app: FastifyInstance, { apiKeys, corsOrigins }: ResolvedOptions): void {
  const digests = apiKeys.map(digest);
  /** Takes as long for a wrong key as for a right one, whichever of them. */
  const isKey = (key: string): boolean => {
    const given = digest(key);
    let found = false;
    for (const known of digests) found = timingSafeEqual(given, known) || found;
    return found;
  };

  app.addHook("onRequest", async (request, reply) => {
    const { origin } = request.headers;
    if (origin !== undefined) {
      if (corsOrigins.includes(origin) || corsOrigins.includes("*")) {
        reply.header("access-control-allow-origin", corsOrigins.includes("*") ? "*" : origin);
        reply.header("vary", "origin");
        reply.header("access-control-expose-headers", "x-request-id, retry-after");
        if (request.method === "OPTIONS") {
          reply.headers({
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": request.headers["access-control-request-headers"] ?? "",
            "access-control-max-age": "600",
          });
          return reply.code(204).send();
        }
      } else if (!isOwnPage(origin, request)) {
        throw new ApiError("ERR_ORIGIN", `pages of ${origin.slice(0, 100)} may not ask this server`);
      }
    }
    if (digests.length === 0 || open.has(request.routeOptions.url ?? "")) return;
    const [scheme, key] = (request.headers.authorization ?? "").split(" ", 2);
    if (scheme?.toLowerCase() === "bearer" && key !== undefined && isKey(key)) return;
    throw new ApiError(
      "ERR_UNAUTHORIZED",
      key === undefined ? "an API key is needed: Authorization: Bearer …" : "the API key is wrong",
      { headers: { "www-authenticate": "Bearer" } },
    );
  });
}

/** The page that this server served, under a name that is this machine's for certain where it listens only here. */
function isOwnPage(origin: string, request: FastifyRequest): boolean {
  if (!URL.canParse(origin)) return false;
  const { host, hostname } = new URL(origin);
  if (host !== request.headers.host) return false;
  return isLoopback(hostname) || !isLoopback((request.socket.localAddress ?? "").replace(/^::ffff:/, ""));
}
