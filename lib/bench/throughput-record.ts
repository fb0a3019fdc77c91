/** What serving a stream of requests measured, and what it comes to. */
import type { DType, ModelConfig } from "../model-config.js";
import { type Summary, summarize } from "../report/statistics.js";
import { type Arrival, type LimitName, type Limits, limitNames } from "./arrivals.js";
import type { Check } from "./check.js";
import type { Environment } from "./document.js";

/** Milliseconds from when a request was due, even if it was sent late. */
export interface RequestRecord {
  /** Seconds after the start. */
  dueAt: number;
  promptTokens: number;
  outputTokens: number;
  ttftMs: number;
  /** From each token to the next. */
  interTokenMs: number[];
  endToEndMs: number;
}

export interface ThroughputSettings {
  models: readonly string[];
  requests: number;
  /** Requests a second; null: all at once. */
  rates: readonly (number | null)[];
  arrival: Arrival;
  context: number;
  outputTokens: number;
  maxBatchSize: number;
  link: string;
  /** "a:1,b:1"; null: all ranks here. */
  hosts: string | null;
  backend: string;
  threads: number;
  seed: number;
  goodput: Limits | null;
}

/** One model under one rate. */
export interface ThroughputRun {
  comparison: string;
  label: string;
  model: string;
  config: ModelConfig;
  ranks: number;
  threadsPerRank: number;
  dtype: DType;
  /** Requests a second; null: all at once. */
  rate: number | null;
  check?: Check;
  /** Why there are no times. */
  failure?: string;
  /** From the first request to the last token. */
  seconds: number;
  /** The most a request was sent after it was due: what this process itself was late by. */
  latestMs: number;
  requests: RequestRecord[];
  /** Of requests that were not served. */
  errors: string[];
}

export interface ThroughputRecord {
  format: "kraken-bench-throughput";
  formatVersion: 1;
  startedAt: string;
  complete: boolean;
  settings: ThroughputSettings;
  environment: Environment;
  runs: ThroughputRun[];
}

/** Names as vLLM and AIPerf have them: time per output token is a request's mean after its first token. */
export interface ThroughputResult {
  run: ThroughputRun;
  ttft: Summary | null;
  tpot: Summary | null;
  itl: Summary | null;
  e2el: Summary | null;
  requestsPerSecond: number;
  outputTokensPerSecond: number;
  totalTokensPerSecond: number;
  /** Requests a second that met every limit, and their share; null without limits. */
  goodput: { requestsPerSecond: number; share: number } | null;
}

/** undefined for a single token, which has no time per token after the first. */
export function measureOf(name: LimitName, request: RequestRecord): number | undefined {
  switch (name) {
    case "ttft":
      return request.ttftMs;
    case "e2el":
      return request.endToEndMs;
    case "tpot":
      return request.outputTokens > 1
        ? (request.endToEndMs - request.ttftMs) / (request.outputTokens - 1)
        : undefined;
  }
}

export function isGood(request: RequestRecord, limits: Limits): boolean {
  return limitNames.every(
    (name) => (measureOf(name, request) ?? 0) <= (limits[name] ?? Number.POSITIVE_INFINITY),
  );
}

const summaryOf = (samples: readonly number[]) => (samples.length > 0 ? summarize(samples) : null);

export function throughputResult(run: ThroughputRun, limits: Limits | null): ThroughputResult {
  const { requests, seconds } = run;
  const each = (name: LimitName) => summaryOf(requests.flatMap((request) => measureOf(name, request) ?? []));
  const perSecond = (count: number) => (seconds > 0 ? count / seconds : 0);
  const output = requests.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
  const prompt = requests.reduce((sum, { promptTokens }) => sum + promptTokens, 0);
  const good = limits ? requests.filter((request) => isGood(request, limits)).length : 0;
  const sent = requests.length + run.errors.length;
  return {
    run,
    ttft: each("ttft"),
    tpot: each("tpot"),
    itl: summaryOf(requests.flatMap(({ interTokenMs }) => interTokenMs)),
    e2el: each("e2el"),
    requestsPerSecond: perSecond(requests.length),
    outputTokensPerSecond: perSecond(output),
    totalTokensPerSecond: perSecond(output + prompt),
    goodput: limits ? { requestsPerSecond: perSecond(good), share: sent > 0 ? good / sent : 0 } : null,
  };
}
