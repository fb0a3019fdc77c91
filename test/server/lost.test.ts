/** Ranks that are killed in mid-stream: everybody is told within a second, /health turns red, and what is configured happens. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startServe } from "../helpers/serve-process.js";
import { eventually, post, serveFake, tinyEngine } from "../helpers/server.js";

const linux = process.platform === "linux" ? false : "processes are looked up in /proc";

/** One after another: a stream of seconds. */
const long = { prompt: "Hello", max_tokens: 100, n: 100, ignore_eos: true };
const short = { prompt: "Hello", max_tokens: 5, temperature: 0 };

describe("a rank killed in mid-stream", { skip: linux }, () => {
  let tiny: Awaited<ReturnType<typeof tinyEngine>>;
  before(async () => {
    tiny = await tinyEngine();
  });
  after(() => tiny[Symbol.asyncDispose]());

  /** Kills the worker while a stream runs and others wait; returns what became of them, and after how long. */
  async function kill(kraken: Awaited<ReturnType<typeof startServe>>) {
    const stream = await post(`${kraken.url}/v1/completions`, { ...long, stream: true });
    const waiting = Array.from({ length: 4 }, () => post(`${kraken.url}/v1/completions`, long));
    const reader = stream.body!.getReader();
    let text = Buffer.from((await reader.read()).value!).toString();
    await sleep(100);
    process.kill(kraken.workerPid(), "SIGKILL");
    const from = performance.now();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += Buffer.from(part.value).toString();
    }
    const answers = await Promise.all(waiting);
    const ms = performance.now() - from;
    assert.ok(ms < 1000, `${ms} ms`);
    assert.match(text, /"code":"ERR_RANK_LOST"[^\n]*\n\n$/);
    for (const answer of answers) {
      assert.equal(answer.status, 503);
      assert.match(await answer.text(), /"code":"ERR_RANK_LOST"/);
    }
    return ms;
  }

  test("--on-rank-lost exit: the process ends with 1 and says why", async (t) => {
    await using kraken = await startServe([tiny.directory, "--isolation", "process", "--batch", "1"]);
    t.diagnostic(`told after ${(await kill(kraken)).toFixed(0)} ms`);
    assert.equal(await kraken.code, 1);
    assert.match(kraken.stderr(), /kraken-worker \(process \d+\) was killed by SIGKILL/);
  });

  test("--on-rank-lost reload: /health turns red, then green, and requests are served again", async (t) => {
    const args = ["--isolation", "process", "--batch", "1", "--on-rank-lost", "reload"];
    await using kraken = await startServe([tiny.directory, ...args]);
    const before = await (await post(`${kraken.url}/v1/completions`, short)).json();
    const seen = new Set<string>();
    let watching = true;
    const watch = (async () => {
      while (watching) {
        const response = await fetch(`${kraken.url}/health`);
        const { status } = (await response.json()) as { status: string };
        assert.equal(response.status, status === "ok" ? 200 : 503);
        seen.add(status);
        await sleep(2);
      }
    })();
    t.diagnostic(`told after ${(await kill(kraken)).toFixed(0)} ms`);
    for (const until = performance.now() + 5000; performance.now() < until; await sleep(20)) {
      if (seen.has("reloading") && (await fetch(`${kraken.url}/health`)).ok) break;
    }
    watching = false;
    await watch;
    assert.deepEqual([...seen].sort(), ["ok", "reloading"]);
    const answer = await post(`${kraken.url}/v1/completions`, short);
    const text = (body: unknown) => (body as { choices: { text: string }[] }).choices[0]!.text;
    assert.equal(text(await answer.json()), text(before));
    assert.match(await (await fetch(`${kraken.url}/metrics`)).text(), /kraken_engine_reloads_total\S* 1/);

    // Also one that nobody asks anything of when it dies.
    process.kill(kraken.workerPid(), "SIGKILL");
    for (const until = performance.now() + 5000; performance.now() < until; await sleep(50)) {
      const metrics = await (await fetch(`${kraken.url}/metrics`)).text();
      if (/kraken_engine_reloads_total\S* 2/.test(metrics)) return;
    }
    assert.fail("was not loaded again");
  });
});

describe("the engine's health", () => {
  test("lost: 503 for requests, ranks that are not alive, and one call of onEngineLost", async () => {
    const reasons: string[] = [];
    await using served = await serveFake({ onEngineLost: (reason) => reasons.push(reason) });
    served.executor.closed = "the engine failed before: rank 1 is gone";
    const health = await fetch(`${served.url}/health`);
    assert.equal(health.status, 503);
    assert.deepEqual(await health.json(), {
      status: "lost",
      reason: served.executor.closed,
      ranksAlive: 0,
      ranks: 2,
    });
    assert.match(await (await fetch(`${served.url}/metrics`)).text(), /kraken_rank_alive{rank="1",[^}]*} 0/);
    assert.equal((await post(`${served.url}/v1/completions`, short)).status, 503);
    assert.deepEqual(reasons, [served.executor.closed]);
    assert.equal((await fetch(`${served.url}/v1/models`)).status, 200);
  });

  test("stalled: requests run, but no step ends", async () => {
    await using served = await serveFake({ stallSeconds: 0.1 });
    assert.equal((await fetch(`${served.url}/health`)).status, 200);
    const pending = post(`${served.url}/v1/completions`, short);
    await eventually(() => served.executor.requests.size === 1);
    await fetch(`${served.url}/health`);
    await sleep(150);
    const health = (await (await fetch(`${served.url}/health`)).json()) as { status: string; reason: string };
    assert.equal(health.status, "stalled");
    assert.match(health.reason, /no step ended for/);
    served.executor.emit({ text: "a", finish: "length" });
    served.executor.requests.clear();
    assert.equal((await pending).status, 200);
    assert.equal((await fetch(`${served.url}/health`)).status, 200);
  });

  test("an engine that its owner disposed of is not well", async () => {
    await using tiny = await tinyEngine();
    const { serveTiny } = await import("../helpers/server.js");
    await using served = await serveTiny(tiny.directory);
    await served.engine.dispose();
    assert.equal((await fetch(`${served.url}/health`)).status, 503);
    assert.equal((await post(`${served.url}/v1/completions`, short)).status, 503);
  });
});
