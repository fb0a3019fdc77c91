/** Every bound of the server, reached: what is refused, with which status, and that others go on. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";
import { fakeEngine } from "../helpers/fake-executor.js";
import { dial, eventually, openai, post, rawPost, serve, serveFake } from "../helpers/server.js";

const codeOf = async (response: Response) =>
  ((await response.json()) as { error: { code: string } }).error.code;
const prompt = { model: "nowhere", prompt: "x", max_tokens: 60 };

describe("limits", () => {
  test("a body that is too large is refused, however it comes", async () => {
    await using served = await serveFake({ maxBodyBytes: 1000 });
    const large = await post(`${served.url}/v1/completions`, { prompt: "x".repeat(2000) });
    assert.deepEqual([large.status, await codeOf(large)], [413, "ERR_BODY_TOO_LARGE"]);
    const connection = await dial(served.port);
    connection.socket.write(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    connection.socket.write(`7d0\r\n${" ".repeat(2000)}\r\n0\r\n\r\n`);
    assert.match(await connection.until("ERR_BODY_TOO_LARGE"), /^HTTP\/1.1 413 /);
    connection.socket.destroy();
  });

  test("prompts and outputs have a limit of the server's own", async () => {
    await using served = await serveFake({ maxPromptTokens: 10, maxOutputTokens: 20 });
    const long = await post(`${served.url}/v1/completions`, { prompt: "x".repeat(11) });
    assert.deepEqual([long.status, await codeOf(long)], [400, "ERR_CONTEXT_LENGTH"]);
    const much = await post(`${served.url}/v1/completions`, { prompt: "x", max_tokens: 21 });
    assert.deepEqual([much.status, await codeOf(much)], [400, "ERR_CONTEXT_LENGTH"]);
    // "User: \nAssistant:" is longer than 10
    const chat = { messages: [{ role: "user", content: "" }] };
    assert.equal((await post(`${served.url}/v1/chat/completions`, chat)).status, 400);
    assert.equal(served.executor.requests.size, 0);
  });

  test("text that cannot fit is not even encoded", async () => {
    const { engine } = fakeEngine();
    const encode = engine.tokenizer!.encode;
    Object.assign(engine, { tokenizer: { ...engine.tokenizer!, encode: () => assert.fail("encoded") } });
    await using served = await serve(engine);
    const response = await post(`${served.url}/v1/completions`, { prompt: "x".repeat(100_000) });
    assert.deepEqual([response.status, await codeOf(response)], [400, "ERR_CONTEXT_LENGTH"]);
    assert.ok(encode("x"));
  });

  test("one request too many gets 429 and when to come back, and the client does", async () => {
    await using served = await serveFake({ maxRequests: 2 });
    const { executor } = served;
    const first = post(`${served.url}/v1/completions`, prompt);
    const second = post(`${served.url}/v1/completions`, prompt);
    await eventually(() => executor.requests.size === 2);
    const third = await post(`${served.url}/v1/completions`, prompt);
    assert.equal(third.status, 429);
    assert.equal(third.headers.get("retry-after"), "1");
    assert.equal(await codeOf(third), "ERR_BUSY");
    await assert.rejects(openai(served.url).completions.create(prompt), OpenAI.RateLimitError);

    const patient = openai(served.url, { maxRetries: 2 }).completions.create(prompt);
    await sleep(100);
    executor.emit({ request: 1, text: "a", finish: "length" }, { request: 2, text: "b", finish: "length" });
    assert.deepEqual([(await first).status, (await second).status], [200, 200]);
    await eventually(() => executor.requests.size === 3, 5000);
    executor.emit({ text: "c", finish: "length" });
    assert.equal((await patient).choices[0]!.text, "c");
  });

  test("a full queue of the engine is 429, too, and leaves nothing of a list behind", async () => {
    await using served = await serveFake();
    const { executor } = served;
    const enqueue = executor.enqueue.bind(executor);
    executor.enqueue = (request) => {
      if (executor.requests.size === 2)
        throw Object.assign(new Error("the queue is full"), { code: "ERR_QUEUE_FULL" });
      return enqueue(request);
    };
    const response = await post(`${served.url}/v1/completions`, { prompt: ["a", "b", "c"] });
    assert.equal(response.status, 429);
    assert.equal(response.headers.get("retry-after"), "1");
    assert.equal(await codeOf(response), "ERR_QUEUE_FULL");
    assert.deepEqual(executor.cancelled, [1, 2]);
  });

  test("the deadline ends a request, and a stream with an event", async () => {
    await using served = await serveFake({ deadlineSeconds: 0.2 });
    const { executor } = served;
    const whole = post(`${served.url}/v1/completions`, prompt);
    const stream = post(`${served.url}/v1/completions`, { ...prompt, stream: true });
    await eventually(() => executor.requests.size === 2);
    executor.emit({ request: 1, text: "a" }, { request: 2, text: "a" });
    const [answer, streamed] = await Promise.all([whole, stream]);
    const expected = answer.status === 504 ? answer : streamed;
    assert.deepEqual([expected.status, await codeOf(answer)], [504, "ERR_DEADLINE"]);
    const text = await streamed.text();
    assert.match(text, /"code":"ERR_DEADLINE"/);
    assert.ok(!text.includes("[DONE]"));
    assert.deepEqual([...executor.cancelled].sort(), [1, 2]);
  });

  test("who reads too slowly is cancelled at the bound, and others are not", async () => {
    await using served = await serveFake({ maxUnsentBytes: 64 << 10 });
    const { executor } = served;
    const slow = await dial(served.port);
    slow.socket.pause();
    slow.socket.write(rawPost("/v1/completions", { ...prompt, stream: true, logprobs: 20 }));
    await eventually(() => executor.requests.size === 1);
    const other = openai(served.url).completions.create({ ...prompt, stream: true });
    await eventually(() => executor.requests.size === 2);
    // Fills what the kernel takes for the slow one, then the bound. Its tokens are wide: 20 alternatives each.
    const alternatives = Array.from({ length: 20 }, (_, token) => ({ token: 65 + token, logprob: -token }));
    for (let i = 0; i < 20_000 && executor.cancelled.length === 0; i++) {
      executor.emit({ request: 1, token: 97, alternatives });
      if (i % 20 === 0) await sleep(0);
    }
    assert.deepEqual(executor.cancelled, [1]);
    executor.emit({ request: 2, text: "fine", finish: "length" });
    let text = "";
    for await (const chunk of await other) text += chunk.choices[0]!.text;
    assert.equal(text, "fine");
    await eventually(() => served.log.some(({ code }) => code === "ERR_SLOW_READER"));
    slow.socket.resume();
    await slow.closed;
    assert.ok(!slow.received().includes("[DONE]"));
  });

  test("who reads nothing for too long is given up, below the bound", async () => {
    await using served = await serveFake({ maxUnsentBytes: 1 << 30, readSeconds: 0.3 });
    const { executor } = served;
    const slow = await dial(served.port);
    slow.socket.pause();
    slow.socket.write(rawPost("/v1/completions", { ...prompt, stream: true, logprobs: 20 }));
    await eventually(() => executor.requests.size === 1);
    const alternatives = Array.from({ length: 20 }, (_, token) => ({ token: 65 + token, logprob: -token }));
    for (let i = 0; i < 20_000 && executor.cancelled.length === 0; i++) {
      executor.emit({ request: 1, token: 97, alternatives });
      if (i % 20 === 0) await sleep(1);
    }
    await eventually(() => executor.cancelled.length === 1);
    slow.socket.destroy();
  });

  test("one connection too many is closed at once", async () => {
    await using served = await serveFake({ maxConnections: 2 });
    const [a, b] = [await dial(served.port), await dial(served.port)];
    const c = await dial(served.port);
    await c.closed;
    a.socket.destroy();
    b.socket.destroy();
  });

  for (const [name, options, message] of [
    ["an unknown option", { apiKey: "x" }, /unknown option `apiKey`; did you mean `apiKeys`\?/],
    ["a short key", { apiKeys: ["secret"] }, /at least 16/],
    ["no keys", { apiKeys: [] }, /empty/],
    ["an origin with a path", { corsOrigins: ["https://a.example/x"] }, /without a path/],
    ["a deadline of 0", { deadlineSeconds: 0 }, /above 0/],
    ["a log level there is not", { logLevel: "loud" }, /one of silent/],
  ] as const) {
    test(`createServer refuses ${name}`, async () => {
      const { engine } = fakeEngine();
      await assert.rejects(serve(engine, options as object), { code: "ERR_OPTION", message });
    });
  }

  test("a port that is taken is an error of ours", async () => {
    await using served = await serveFake();
    const { engine } = fakeEngine();
    const { createServer } = await import("../../lib/server/index.js");
    const second = await createServer(engine, { logLevel: "silent" });
    await assert.rejects(second.listen({ port: served.port }), { code: "ERR_IO", message: /cannot listen/ });
    await second.close();
  });
});
