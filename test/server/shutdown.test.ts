/** The end: what runs is waited for, then told; and `kraken serve` as a process that is told by signals. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startServe } from "../helpers/serve-process.js";
import { dial, events, eventually, post, rawPost, serveFake, tinyEngine } from "../helpers/server.js";

const prompt = { prompt: "x", max_tokens: 60 };

describe("close()", () => {
  test("waits for what runs, and takes nothing new", async () => {
    await using served = await serveFake({ drainSeconds: 10 });
    const { executor, server } = served;
    const stream = post(`${served.url}/v1/completions`, { ...prompt, stream: true });
    const idle = await dial(served.port);
    idle.socket.write("GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    await idle.until("version");
    const busy = await dial(served.port);
    busy.socket.write(rawPost("/v1/completions", prompt));
    await eventually(() => executor.requests.size === 2);
    let closed = false;
    const closing = server.close().then(() => {
      closed = true;
    });
    await idle.closed;
    await assert.rejects(fetch(`${served.url}/version`));
    busy.socket.write(rawPost("/v1/completions", prompt)); // pipelined, on a connection that is still open
    await sleep(50);
    assert.equal(closed, false);
    executor.emit({ request: 1, text: "a", finish: "length" }, { request: 2, text: "a", finish: "length" });
    assert.match(await busy.until('"text":"a"'), /^HTTP\/1.1 200 .*connection: close/s);
    await busy.closed;
    assert.ok(!busy.received().includes("HTTP/1.1 200 OK", 10));
    assert.equal((await events(await stream)).pop(), "[DONE]");
    await closing;
    assert.equal(executor.requests.size, 2);
    assert.deepEqual(executor.cancelled, []);
  });

  test("cancels what takes too long, and tells its client", async () => {
    await using served = await serveFake({ drainSeconds: 0.2 });
    const { executor, server } = served;
    const stream = post(`${served.url}/v1/completions`, { ...prompt, stream: true });
    const whole = post(`${served.url}/v1/completions`, prompt);
    await eventually(() => executor.requests.size === 2);
    executor.emit({ request: 1, text: "a" }, { request: 2, text: "a" });
    const response = await stream;
    const from = performance.now();
    await server.close();
    assert.ok(performance.now() - from < 1500);
    assert.match((await events(response)).pop()!, /"code":"ERR_SHUTTING_DOWN"/);
    assert.equal((await whole).status, 503);
    assert.deepEqual([...executor.cancelled].sort(), [1, 2]);
  });

  test("twice is once, and leaves nothing that keeps the process alive", async () => {
    await using served = await serveFake();
    await Promise.all([served.server.close(), served.server.close()]);
    await served.server.close();
  });
});

describe("kraken serve", () => {
  /** Many continuations, one after another: a stream of seconds. */
  const long = { prompt: "Hello", max_tokens: 100, n: 100, ignore_eos: true, stream: true };

  async function endInMidStream(url: string, child: { kill(signal: NodeJS.Signals): unknown }, n: number) {
    const response = await post(`${url}/v1/completions`, { ...long, n });
    const reader = response.body!.getReader();
    let text = Buffer.from((await reader.read()).value!).toString();
    child.kill("SIGTERM");
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += Buffer.from(part.value).toString();
    }
    return text;
  }

  test("SIGTERM in mid-stream: the stream ends whole, the process with 0", async () => {
    await using tiny = await tinyEngine();
    await using kraken = await startServe([tiny.directory, "--batch", "1"]);
    const text = await endInMidStream(kraken.url, kraken.child, 10);
    assert.equal(text.match(/"finish_reason":"length"/g)?.length, 10);
    assert.match(text, /data: \[DONE\]\n\n$/);
    assert.equal(await kraken.code, 0);
  });

  test("what takes longer than --drain is told", async () => {
    await using tiny = await tinyEngine();
    await using kraken = await startServe([tiny.directory, "--batch", "1", "--drain", "0.2"]);
    const text = await endInMidStream(kraken.url, kraken.child, 100);
    assert.match(text, /"code":"ERR_SHUTTING_DOWN"[^\n]*\n\n$/);
    assert.equal(await kraken.code, 0);
  });
});
