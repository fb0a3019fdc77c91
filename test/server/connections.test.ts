/** Input that no client would send, byte by byte. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { dial, eventually, post, rawPost, serveFake } from "../helpers/server.js";

describe("connections", () => {
  let served: Awaited<ReturnType<typeof serveFake>>;
  before(async () => {
    served = await serveFake({ readSeconds: 0.5 });
  });
  after(() => served[Symbol.asyncDispose]());

  const alive = async () => assert.equal((await fetch(`${served.url}/health`)).status, 200);

  test("slowloris: headers that never end are answered 408 and closed", async () => {
    const { socket, closed, received } = await dial(served.port);
    socket.write("POST /v1/completions HTTP/1.1\r\nHost: x\r\n");
    const drip = setInterval(() => socket.write("X-A: b\r\n"), 50);
    const from = performance.now();
    await closed;
    clearInterval(drip);
    assert.ok(performance.now() - from < 3000);
    assert.match(received(), /^HTTP\/1.1 408 .*"the request did not come in time"/s);
    await alive();
  });

  test("a body that never ends is closed, too", async () => {
    const { socket, closed, received } = await dial(served.port);
    socket.write(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    );
    const drip = setInterval(() => socket.write(" "), 50);
    await closed;
    clearInterval(drip);
    assert.match(received(), /^HTTP\/1.1 408 /);
    assert.equal(served.executor.requests.size, 0);
  });

  for (const [name, bytes, status] of [
    ["what is not HTTP", "hello, is anybody there?\r\n\r\n", 400],
    ["a TLS greeting", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
    ["headers that are too large", `GET / HTTP/1.1\r\nHost: x\r\nX-A: ${"b".repeat(20_000)}\r\n\r\n`, 431],
    [
      "two lengths",
      "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
      400,
    ],
    [
      "a length and chunks",
      "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
  ] as const) {
    test(`${name} is answered ${status} and closed`, async () => {
      const { socket, closed, received } = await dial(served.port);
      socket.write(bytes, "latin1");
      await closed;
      assert.match(received(), new RegExp(`^HTTP/1.1 ${status} `));
      const body = received().slice(received().indexOf("\r\n\r\n") + 4);
      assert.equal(JSON.parse(body).error.code, "ERR_BODY");
      await alive();
    });
  }

  const bodies: [name: string, body: string, type: string, status: number, code: string][] = [
    ["no JSON", "{", "application/json", 400, "ERR_BODY"],
    ["an empty body", "", "application/json", 400, "ERR_BODY"],
    ["a list", "[]", "application/json", 400, "ERR_OPTION"],
    ["null", "null", "application/json", 400, "ERR_OPTION"],
    ["a prototype", '{"prompt":"x","__proto__":{"a":1}}', "application/json", 400, "ERR_BODY"],
    ["nesting", "[".repeat(100_000), "application/json", 400, "ERR_BODY"],
    [
      "a deep prompt",
      `{"prompt":${"[".repeat(50_000)}${"]".repeat(50_000)}}`,
      "application/json",
      400,
      "ERR_OPTION",
    ],
    ["a form", "prompt=x", "application/x-www-form-urlencoded", 415, "ERR_BODY"],
    ["text", '{"prompt":"x"}', "text/plain", 415, "ERR_BODY"],
  ];
  for (const [name, body, type, status, code] of bodies) {
    test(`a body that is ${name} is refused`, async () => {
      const response = await post(`${served.url}/v1/completions`, body, {
        headers: { "content-type": type },
      });
      const answer = (await response.json()) as { error: { code: string; message: string } };
      assert.deepEqual([response.status, answer.error.code], [status, code], answer.error.message);
      assert.ok(answer.error.message.length < 300);
    });
  }

  test("paths and methods there are not", async () => {
    for (const [method, path, status, allow] of [
      ["GET", "/v1/nothing", 404, null],
      ["GET", "/v1/completions", 405, "POST"],
      ["DELETE", "/health", 405, "GET"],
      ["POST", "/v1/models/tiny", 405, "GET"],
      ["GET", "/%", 400, null],
    ] as const) {
      const response = await fetch(served.url + path, { method });
      assert.deepEqual([response.status, response.headers.get("allow")], [status, allow], path);
      assert.ok(((await response.json()) as { error: { code: string } }).error.code);
    }
  });

  test("pipelined requests are answered in order, and cancelled together", async () => {
    const { executor } = served;
    const { size } = executor.requests;
    const first = await dial(served.port);
    first.socket.write(
      rawPost("/v1/completions", { prompt: "a" }) + rawPost("/v1/completions", { prompt: "b", stream: true }),
    );
    await eventually(() => executor.requests.size === size + 2);
    executor.emit({ request: size + 2, text: "second", finish: "length" });
    await sleep(20);
    assert.equal(first.received(), "");
    executor.emit({ request: size + 1, text: "first", finish: "length" });
    const text = await first.until("[DONE]");
    assert.ok(text.indexOf('"first"') < text.indexOf("text/event-stream"));
    first.socket.destroy();

    const cancelled = executor.cancelled.length;
    const second = await dial(served.port);
    second.socket.write(rawPost("/v1/completions", { prompt: "a", stream: true }).repeat(20));
    await eventually(() => executor.requests.size === size + 22);
    second.socket.destroy();
    await eventually(() => executor.cancelled.length === cancelled + 20);
  });

  test("a request id of the client's is kept where it is harmless", async () => {
    const id = async (given: string) =>
      (await fetch(`${served.url}/version`, { headers: { "x-request-id": given } })).headers.get(
        "x-request-id",
      );
    assert.equal(await id("abc-1"), "abc-1");
    assert.match((await id('a" b')) ?? "", /^[0-9a-f-]{36}$/);
  });
});
