/** What an operator sees: metrics by their names, log lines, spans, and the OpenAPI document. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { propagation, trace } from "@opentelemetry/api";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { events, eventually, openai, post, serveFake, serveTiny, tinyEngine } from "../helpers/server.js";

/** Samples of a Prometheus text, by name and labels. */
function samples(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

describe("metrics", () => {
  let tiny: Awaited<ReturnType<typeof tinyEngine>>;
  let served: Awaited<ReturnType<typeof serveTiny>>;
  let text: string;
  before(async () => {
    tiny = await tinyEngine();
    served = await serveTiny(tiny.directory);
    const client = openai(served.url);
    const request = { model: "tiny", prompt: "Hello", max_tokens: 10, temperature: 0 };
    await client.completions.create(request);
    await events(await post(`${served.url}/v1/completions`, { ...request, stream: true }));
    await client.completions.create({ ...request, max_tokens: 999 }).catch(() => {});
    const signal = AbortSignal.timeout(30);
    await client.completions
      .create({ ...request, max_tokens: 100, temperature: 1, n: 64 }, { signal })
      .catch(() => {});
    await eventually(() => served.log.some(({ code }) => code === "ERR_CLIENT_GONE"));
    await eventually(() => served.engine.stats().running === 0);
    text = await (await fetch(`${served.url}/metrics`)).text();
  });
  after(async () => {
    await served[Symbol.asyncDispose]();
    await tiny[Symbol.asyncDispose]();
  });
  const value = (name: string, labels = "") => samples(text).get(`${name}{${labels}model_name="tiny"}`);

  test("requests, by how they ended", () => {
    assert.equal(value("kraken_request_success_total", 'finished_reason="length",'), 2);
    assert.equal(value("kraken_request_error_total", 'code="ERR_CONTEXT_LENGTH",'), 1);
    assert.equal(value("kraken_request_cancelled_total", 'code="ERR_CLIENT_GONE",'), 1);
    assert.equal(value("kraken_http_requests_total", 'route="/v1/completions",status="400",'), 1);
  });

  test("times, in buckets from 1 ms", () => {
    for (const name of [
      "kraken_time_to_first_token_seconds",
      "kraken_time_per_output_token_seconds",
      "kraken_inter_token_latency_seconds",
      "kraken_e2e_request_latency_seconds",
      "kraken_request_queue_time_seconds",
      "kraken_request_prefill_time_seconds",
      "kraken_request_decode_time_seconds",
      "kraken_request_inference_time_seconds",
    ]) {
      assert.ok(value(`${name}_count`)! >= 2, name);
      assert.ok(value(`${name}_sum`)! > 0, name);
      assert.ok(text.includes(`${name}_bucket{le="0.001",`), name);
    }
    assert.equal(value("kraken_e2e_request_latency_seconds_count"), 2);
    assert.ok(value("kraken_inter_token_latency_seconds_count")! >= 18);
  });

  test("tokens and the engine's state", () => {
    assert.ok(value("kraken_prompt_tokens_total")! >= 10);
    assert.ok(value("kraken_generation_tokens_total")! >= 20);
    assert.equal(value("kraken_num_requests_running"), 0);
    assert.equal(value("kraken_num_requests_waiting"), 0);
    assert.equal(value("kraken_kv_cache_usage_perc"), 0);
    assert.equal(value("kraken_kv_cache_utilization"), 0);
    for (const rank of [0, 1]) {
      assert.equal(value("kraken_rank_alive", `rank="${rank}",`), 1);
      assert.ok(value("kraken_all_reduce_seconds_total", `rank="${rank}",`)! > 0);
      assert.ok(value("kraken_all_reduce_exposed_seconds_total", `rank="${rank}",`)! > 0);
    }
    const info = 'architecture="kraken",ways="2",ranks="2",backend="cpu",dtype="float32",';
    assert.match(text, new RegExp(`kraken_engine_info\\{version="[^"]+",${info}model_name="tiny"\\} 1`));
  });

  test("every metric of the dashboard exists, and it draws what matters", async () => {
    const dashboard = await readFile(new URL("../../docs/grafana.json", import.meta.url), "utf8");
    const { panels } = JSON.parse(dashboard) as { panels: { title: string }[] };
    assert.ok(panels.length >= 10);
    const used = new Set(dashboard.match(/kraken_[a-z0-9_]+/g));
    const there = [...samples(text).keys()].map((key) => key.slice(0, key.indexOf("{")));
    for (const name of used) assert.ok(there.includes(name) || text.includes(`# TYPE ${name} `), name);
    for (const name of ["time_to_first_token", "all_reduce_exposed", "rank_alive", "num_requests_waiting"]) {
      assert.ok(
        [...used].some((metric) => metric.includes(name)),
        name,
      );
    }
  });
});

describe("the log", () => {
  const secret = "a prompt that is nobody's business";
  const ask = async (logPrompts: boolean) => {
    await using served = await serveFake({ logPrompts });
    const answer = post(
      `${served.url}/v1/completions`,
      { prompt: secret, max_tokens: 2 },
      { headers: { "x-request-id": "my-id" } },
    );
    await eventually(() => served.executor.requests.size === 1);
    served.executor.emit({ text: "ab", finish: "length" });
    await answer;
    await eventually(() => served.log.some(({ msg }) => msg === "request"));
    return served.log.find(({ msg }) => msg === "request")!;
  };

  test("has a line for each request: id, route, status, times, tokens, and no prompt", async () => {
    const line = await ask(false);
    const { reqId, route, status, promptTokens, outputTokens, ttftMs, ms } = line;
    assert.deepEqual([reqId, route, status], ["my-id", "/v1/completions", 200]);
    assert.deepEqual([promptTokens, outputTokens], [secret.length, 2]);
    assert.ok(Number(ttftMs) > 0 && Number(ms) >= Number(ttftMs) - 0.1);
    assert.ok(!JSON.stringify(line).includes(secret));
  });

  test("has the prompt when asked to", async () => {
    assert.deepEqual((await ask(true)).body, { prompt: secret, max_tokens: 2 });
  });

  test("warns where everybody in the network may ask", async () => {
    const { fakeEngine } = await import("../helpers/fake-executor.js");
    const { createServer } = await import("../../lib/server/index.js");
    for (const [apiKeys, warnings] of [
      [undefined, 1],
      [["a-key-of-enough-letters"], 0],
    ] as const) {
      const log: { level: number }[] = [];
      const logStream = { write: (line: string) => log.push(JSON.parse(line)) };
      await using server = await createServer(fakeEngine().engine, { logStream, apiKeys });
      await server.listen({ host: "0.0.0.0", port: 0 });
      assert.equal(log.filter(({ level }) => level === 40).length, warnings);
    }
  });
});

describe("spans", () => {
  const exporter = new InMemorySpanExporter();
  before(() => {
    trace.setGlobalTracerProvider(
      new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
    );
    propagation.setGlobalPropagator({
      inject() {},
      fields: () => ["traceparent"],
      extract(context, carrier: Record<string, string>) {
        const [, traceId = "", spanId = ""] = carrier.traceparent?.split("-") ?? [];
        return trace.setSpanContext(context, { traceId, spanId, traceFlags: 1, isRemote: true });
      },
    });
  });
  after(() => {
    trace.disable();
    propagation.disable();
  });

  test("one for each generation, a child of the client's, with tokens and errors", async () => {
    await using served = await serveFake();
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const answer = post(`${served.url}/v1/completions`, { prompt: "abc" }, { headers: { traceparent } });
    await eventually(() => served.executor.requests.size === 1);
    served.executor.emit({ text: "xy", finish: "length" });
    await answer;
    await post(`${served.url}/v1/completions`, { prompt: "" });
    const [good, bad] = exporter.getFinishedSpans();
    assert.equal(good!.name, "POST /v1/completions");
    assert.equal(good!.spanContext().traceId, "0af7651916cd43dd8448eb211c80319c");
    assert.equal(good!.attributes["gen_ai.usage.input_tokens"], 3);
    assert.equal(good!.attributes["gen_ai.usage.output_tokens"], 2);
    assert.ok((good!.attributes["gen_ai.latency.time_to_first_token"] as number) > 0);
    assert.equal(bad!.attributes["error.type"], "ERR_EMPTY_PROMPT");
    assert.equal(bad!.status.code, 2);
  });
});

describe("the OpenAPI document", () => {
  test("names every route and comes from the schemas that validate", async () => {
    await using served = await serveFake({ apiKeys: ["a-key-of-enough-letters"] });
    const headers = { authorization: "Bearer a-key-of-enough-letters" };
    // biome-ignore lint/suspicious/noExplicitAny: a document of which a few places are looked at
    const document = (await (await fetch(`${served.url}/openapi.json`, { headers })).json()) as any;
    assert.equal(document.openapi, "3.1.0");
    assert.deepEqual(Object.keys(document.paths).sort(), [
      "/detokenize",
      "/health",
      "/metrics",
      "/stats",
      "/tokenize",
      "/v1/chat/completions",
      "/v1/completions",
      "/v1/embeddings",
      "/v1/models",
      "/v1/models/{model}",
      "/version",
    ]);
    const { schema } = document.paths["/v1/completions"].post.requestBody.content["application/json"];
    assert.equal(schema.$ref, "#/components/schemas/CompletionRequest");
    const { properties, additionalProperties } = document.components.schemas.CompletionRequest;
    assert.equal(additionalProperties, false);
    assert.equal(properties.top_p.maximum, 1);
    assert.deepEqual(document.security, [{ key: [] }]);
    const references = JSON.stringify(document).match(/"#\/components\/schemas\/[^"]+"/g)!;
    for (const reference of references) {
      assert.ok(document.components.schemas[JSON.parse(reference).split("/").at(-1)], reference);
    }
  });
});
