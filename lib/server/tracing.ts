/**
 * Spans through @opentelemetry/api, where the host has it: an optional peer. Without an SDK that the host set up, the
 * API itself does nothing; without the API there is nothing to call.
 */
import type { IncomingHttpHeaders } from "node:http";
import type * as OpenTelemetry from "@opentelemetry/api";
import { version } from "../version.js";
import type { ApiError } from "./errors.js";

export interface RequestSpan {
  end(attributes: Record<string, string | number>, error?: ApiError): void;
}

const nothing: RequestSpan = { end() {} };

export interface Tracing {
  /** Begins a span, a child of the one that the request's headers name. */
  start(name: string, headers: IncomingHttpHeaders, attributes: Record<string, string | number>): RequestSpan;
}

export async function loadTracing(): Promise<Tracing> {
  let api: typeof OpenTelemetry;
  try {
    api = await import("@opentelemetry/api");
  } catch {
    return { start: () => nothing };
  }
  const { context, propagation, SpanKind, SpanStatusCode, trace } = api;
  return {
    start(name, headers, attributes) {
      const span = trace
        .getTracer("kraken-engine", version)
        .startSpan(
          name,
          { kind: SpanKind.SERVER, attributes },
          propagation.extract(context.active(), headers),
        );
      return {
        end(more, error) {
          span.setAttributes(more);
          if (error) {
            span.setAttribute("error.type", error.code);
            span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
          }
          span.end();
        },
      };
    },
  };
}
