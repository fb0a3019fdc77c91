/** Who may ask: API keys, and pages of other origins. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI from "openai";
import { openai, serveFake } from "../helpers/server.js";

const keys = ["first-key-of-two-0001", "second-key-of-two-002"];

describe("API keys", () => {
  test("are wanted everywhere but at the page and /health", async () => {
    await using served = await serveFake({ apiKeys: keys });
    const status = async (path: string, authorization?: string) =>
      (await fetch(served.url + path, authorization ? { headers: { authorization } } : {})).status;
    for (const path of ["/v1/models", "/metrics", "/stats", "/version", "/openapi.json", "/nothing"]) {
      assert.equal(await status(path), 401, path);
      for (const key of keys) assert.notEqual(await status(path, `Bearer ${key}`), 401, path);
    }
    for (const path of ["/", "/health"]) assert.equal(await status(path), 200, path);
    for (const wrong of ["", "Bearer", "Bearer ", `Bearer ${keys[0]}x`, `Basic ${keys[0]}`, keys[0]!]) {
      assert.equal(await status("/v1/models", wrong), 401, wrong);
    }
  });

  test("the client's key, and its error without", async () => {
    await using served = await serveFake({ apiKeys: keys });
    assert.equal((await openai(served.url, { apiKey: keys[1]! }).models.list()).data.length, 1);
    await assert.rejects(openai(served.url, { apiKey: "wrong" }).models.list(), (error) => {
      assert.ok(error instanceof OpenAI.AuthenticationError);
      assert.equal(error.code, "ERR_UNAUTHORIZED");
      return true;
    });
  });

  test("a key is refused before its body is read, and never logged", async () => {
    await using served = await serveFake({ apiKeys: keys, logLevel: "trace", logPrompts: true });
    const response = await fetch(`${served.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer a-key-that-is-wrong" },
      body: "{",
    });
    assert.equal(response.status, 401);
    await fetch(`${served.url}/v1/models`, { headers: { authorization: `Bearer ${keys[0]}` } });
    const log = JSON.stringify(served.log);
    assert.ok(served.log.length >= 2 && !log.includes("a-key-that-is-wrong") && !log.includes(keys[0]!));
  });
});

describe("pages of other origins", () => {
  const ask = (url: string, origin: string, init: RequestInit = {}) =>
    fetch(`${url}/v1/models`, { ...init, headers: { origin, ...init.headers } });

  test("may not ask, whatever name they have for this machine", async () => {
    await using served = await serveFake();
    for (const origin of ["https://evil.example", "null", `http://127.0.0.1:${served.port + 1}`]) {
      const response = await ask(served.url, origin);
      assert.equal(response.status, 403, origin);
      assert.equal(response.headers.get("access-control-allow-origin"), null);
    }
    assert.equal((await ask(served.url, served.url)).status, 200);
    // A name that was made to mean 127.0.0.1: fetch sets Host itself, so this asks as a browser would.
    const { request } = await import("node:http");
    const rebound = `http://evil.example:${served.port}`;
    const status = await new Promise((resolve) =>
      request(
        `${served.url}/v1/models`,
        { headers: { host: rebound.slice(7), origin: rebound } },
        (response) => resolve(response.resume().statusCode),
      ).end(),
    );
    assert.equal(status, 403);
  });

  test("may where they are named", async () => {
    await using served = await serveFake({ corsOrigins: ["https://app.example"] });
    const response = await ask(served.url, "https://app.example");
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("access-control-allow-origin"), "https://app.example");
    const preflight = await ask(served.url, "https://app.example", {
      method: "OPTIONS",
      headers: {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
      },
    });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers.get("access-control-allow-headers"), "authorization, content-type");
    assert.equal((await ask(served.url, "https://other.example")).status, 403);
  });
});
