/** What the routes share. */
import type { FastifyBaseLogger } from "fastify";
import type { Admission, Occupancy } from "./admission.js";
import type { EngineHost } from "./engine-host.js";
import { ApiError } from "./errors.js";
import type { GenerationRun } from "./generation-run.js";
import type { Metrics } from "./metrics.js";
import type { ResolvedOptions } from "./options.js";
import type { Tracing } from "./tracing.js";

export interface Service {
  options: ResolvedOptions;
  host: EngineHost;
  /** Requests that generate. */
  admission: Admission;
  /** All requests, until their answers are sent. */
  answers: Occupancy;
  metrics: Metrics;
  tracing: Tracing;
  log: FastifyBaseLogger;
  /** Requests that generate now. */
  runs: Set<GenerationRun>;
}

/** There is one model; a client that names another gets the wrong answers otherwise. @throws ApiError */
export function checkModel(model: string | null | undefined, { modelName }: ResolvedOptions): void {
  if (model === undefined || model === null || model === modelName) return;
  throw new ApiError(
    "ERR_MODEL_NOT_FOUND",
    `there is no model ${JSON.stringify(model.slice(0, 100))} here, only ${JSON.stringify(modelName)}`,
    { param: "model" },
  );
}
