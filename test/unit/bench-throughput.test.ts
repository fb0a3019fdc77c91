/** Arrivals, limits and what a stream of requests comes to. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { arrivalTimes, parseGoodput } from "../../lib/bench/arrivals.js";
import { serve } from "../../lib/bench/throughput.js";
import {
  isGood,
  type RequestRecord,
  type ThroughputRun,
  type ThroughputSettings,
  throughputResult,
} from "../../lib/bench/throughput-record.js";
import type { Engine } from "../../lib/engine.js";
import { configOf } from "../helpers/bench-records.js";

describe("arrivals", () => {
  test("fixed: one after another", () => {
    assert.deepEqual(arrivalTimes(4, 2, "fixed", 0), [0, 0.5, 1, 1.5]);
  });

  test("all at once", () => {
    assert.deepEqual(arrivalTimes(3, null, "poisson", 0), [0, 0, 0]);
  });

  test("Poisson: exponential gaps, the same for the same seed", () => {
    const times = arrivalTimes(20_001, 4, "poisson", 7);
    assert.deepEqual(times.slice(0, 50), arrivalTimes(50, 4, "poisson", 7));
    assert.notDeepEqual(times.slice(0, 50), arrivalTimes(50, 4, "poisson", 8));
    const gaps = times.slice(1).map((time, i) => time - times[i]!);
    const mean = gaps.reduce((a, b) => a + b) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    assert.ok(Math.abs(mean - 0.25) < 0.01, `${mean}`); // 1 / rate
    assert.ok(Math.abs(Math.sqrt(variance) - 0.25) < 0.01, `${variance}`); // as is its deviation
    const long = gaps.filter((gap) => gap > 0.25).length / gaps.length;
    assert.ok(Math.abs(long - Math.exp(-1)) < 0.02, `${long}`);
  });
});

describe("goodput limits", () => {
  test("are names and milliseconds", () => {
    assert.deepEqual(parseGoodput("ttft:200, tpot:50.5"), { ttft: 200, tpot: 50.5 });
    for (const bad of ["ttft", "ttft:0", "ttft:x", "", "ttft:1,,tpot:2"]) {
      assert.throws(() => parseGoodput(bad), {
        code: "ERR_OPTION",
        message: /`goodput` must be milliseconds after/,
      });
    }
    assert.throws(() => parseGoodput("e2e:5"), { message: /did you mean e2el\?/ });
  });

  const request: RequestRecord = {
    dueAt: 0,
    promptTokens: 10,
    outputTokens: 5,
    ttftMs: 100,
    interTokenMs: [50, 50, 50, 50],
    endToEndMs: 300,
  };

  test("all of them must be met", () => {
    assert.ok(isGood(request, {}));
    assert.ok(isGood(request, { ttft: 100, tpot: 50, e2el: 300 }));
    assert.ok(!isGood(request, { ttft: 99 }));
    assert.ok(!isGood(request, { ttft: 100, tpot: 49 }));
    assert.ok(isGood({ ...request, outputTokens: 1 }, { tpot: 1 })); // has no time per token after the first
  });

  test("a run's figures", () => {
    const run: ThroughputRun = {
      comparison: "given",
      label: "standard",
      model: "gpt-tiny",
      config: configOf("standard"),
      ranks: 2,
      threadsPerRank: 1,
      dtype: "float32",
      rate: 2,
      seconds: 2,
      latestMs: 0,
      requests: [request, { ...request, ttftMs: 200, endToEndMs: 600 }],
      errors: ["refused", "refused"],
    };
    const result = throughputResult(run, { ttft: 150 });
    assert.equal(result.ttft!.median, 150);
    assert.deepEqual([result.tpot!.min, result.tpot!.max], [50, 100]); // (300 − 100) / 4, (600 − 200) / 4
    assert.equal(result.itl!.n, 8);
    assert.equal(result.e2el!.max, 600);
    assert.equal(result.requestsPerSecond, 1);
    assert.equal(result.outputTokensPerSecond, 5);
    assert.equal(result.totalTokensPerSecond, 15);
    assert.deepEqual(result.goodput, { requestsPerSecond: 0.5, share: 0.25 }); // of the refused ones, too
    assert.equal(throughputResult(run, null).goodput, null);
    const none = throughputResult({ ...run, requests: [], errors: [], seconds: 0 }, { ttft: 1 });
    assert.deepEqual([none.ttft, none.requestsPerSecond, none.goodput!.share], [null, 0, 0]);
  });
});

describe("serving", () => {
  const settings: ThroughputSettings = {
    models: [],
    requests: 5,
    rates: [],
    arrival: "fixed",
    context: 4,
    outputTokens: 2,
    maxBatchSize: 1,
    link: "none",
    hosts: null,
    backend: "cpu",
    threads: 1,
    seed: 0,
    goodput: null,
  };
  const engine = (failing: number) => {
    const sentAt: number[] = [];
    const fake = {
      config: configOf("standard"),
      generate(prompt: number[]) {
        const index = sentAt.push(performance.now()) - 1;
        if (index === failing) throw new Error("the queue is full");
        return {
          async *[Symbol.asyncIterator]() {
            yield { token: 1, text: "" };
            yield { token: -1, text: "held back" };
            yield { token: 2, text: "" };
          },
          // biome-ignore lint/suspicious/noThenProperty: awaitable, as the real one is
          then: (resolve: (result: object) => void) => resolve({ promptTokens: prompt.length }),
        };
      },
    };
    return { fake: fake as unknown as Engine, sentAt };
  };

  test("no request is sent before it is due, and its clock starts then", async () => {
    const { fake, sentAt } = engine(-1);
    const startedAt = performance.now();
    const { requests, errors, seconds, latestMs } = await serve(fake, 100, settings);
    assert.deepEqual(errors, []);
    assert.equal(requests.length, 5);
    for (const [i, at] of sentAt.entries()) assert.ok(at - startedAt >= 10 * i, `${i} at ${at - startedAt}`);
    for (const { ttftMs, promptTokens, outputTokens, interTokenMs } of requests) {
      assert.ok(ttftMs >= 0);
      assert.deepEqual([promptTokens, outputTokens, interTokenMs.length], [4, 2, 1]);
    }
    assert.ok(seconds >= 0.04 && latestMs >= 0);
  });

  test("a request that fails is counted, and the others go on", async () => {
    const { fake } = engine(2);
    const { requests, errors } = await serve(fake, null, settings);
    assert.equal(requests.length, 4);
    assert.deepEqual(errors, ["the queue is full"]);
  });
});
