/** /v1/completions through OpenAI's own client, against what the engine gives without a server between. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { events, eventually, openai, post, serveFake, serveTiny, tinyEngine } from "../helpers/server.js";

describe("/v1/completions", () => {
  let tiny: Awaited<ReturnType<typeof tinyEngine>>;
  let served: Awaited<ReturnType<typeof serveTiny>>;
  let client: OpenAI;
  before(async () => {
    tiny = await tinyEngine();
    served = await serveTiny(tiny.directory);
    client = openai(served.url);
  });
  after(async () => {
    await served[Symbol.asyncDispose]();
    await tiny[Symbol.asyncDispose]();
  });
  const model = "tiny";
  const greedy = { model, prompt: "Hello", max_tokens: 12, temperature: 0 } as const;

  test("whole, as the engine gives it", async () => {
    const expected = await served.engine.generate("Hello", { maxTokens: 12, temperature: 0 });
    const completion = await client.completions.create(greedy);
    assert.equal(completion.object, "text_completion");
    assert.equal(completion.model, "tiny");
    assert.match(completion.id, /^cmpl-/);
    assert.deepEqual(completion.choices, [
      { index: 0, text: expected.text, logprobs: null, finish_reason: "length" },
    ]);
    assert.deepEqual(completion.usage, { prompt_tokens: 5, completion_tokens: 12, total_tokens: 17 });
    assert.match(completion._request_id ?? "", /^[0-9a-f-]{36}$/);
  });

  test("a stream is the whole in parts, and its usage comes last when asked for", async () => {
    const whole = await client.completions.create(greedy);
    const chunks = [];
    const stream = await client.completions.create({
      ...greedy,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    const usage = chunks.pop()!;
    assert.deepEqual(usage.choices, []);
    assert.deepEqual(usage.usage, whole.usage);
    assert.equal(chunks.map((chunk) => chunk.choices[0]!.text).join(""), whole.choices[0]!.text);
    assert.deepEqual(
      chunks.map((chunk) => chunk.choices[0]!.finish_reason),
      [...chunks.slice(1).map(() => null), "length"],
    );
    assert.ok(chunks.every((chunk) => chunk.usage === null && chunk.id === usage.id));
  });

  test("a stream without usage has none, and ends with [DONE]", async () => {
    const response = await post(`${served.url}/v1/completions`, { ...greedy, stream: true });
    assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
    assert.ok(response.headers.get("x-request-id"));
    const all = await events(response);
    assert.equal(all.pop(), "[DONE]");
    assert.ok(all.every((event) => !("usage" in JSON.parse(event))));
  });

  test("token ids, lists of texts and of ids", async () => {
    const ids = [...Buffer.from("Hello")];
    const one = async (prompt: string | string[] | number[] | number[][]) =>
      (await client.completions.create({ ...greedy, prompt })).choices.map((choice) => choice.text);
    const [text] = await one("Hello");
    assert.deepEqual(await one(ids), [text]);
    assert.deepEqual(await one([ids, ids]), [text, text]);
    const [other] = await one("World");
    assert.deepEqual(await one(["World", "Hello"]), [other, text]);
  });

  test("n continuations of each prompt, in order, also in a stream", async () => {
    const request = { ...greedy, prompt: ["Hello", "World"], temperature: 1, n: 3, seed: 7 };
    const whole = await client.completions.create(request);
    assert.deepEqual(
      whole.choices.map((choice) => choice.index),
      [0, 1, 2, 3, 4, 5],
    );
    const expected = await served.engine.generate("World", { maxTokens: 12, n: 3, seed: 7 });
    assert.deepEqual(
      whole.choices.slice(3).map((choice) => choice.text),
      expected.samples?.map((sample) => sample.text),
    );
    const texts = ["", "", "", "", "", ""];
    for await (const { choices } of await client.completions.create({ ...request, stream: true })) {
      texts[choices[0]!.index] += choices[0]!.text;
    }
    assert.deepEqual(
      texts,
      whole.choices.map((choice) => choice.text),
    );
  });

  test("seed gives the same text again, another seed another", async () => {
    const text = async (seed: number) =>
      (await client.completions.create({ ...greedy, temperature: 1, seed })).choices[0]!.text;
    assert.equal(await text(5), await text(5));
    assert.equal(await text(-5), await text(-5));
    assert.notEqual(await text(5), await text(6));
  });

  test("stop ends before the text, logit_bias moves tokens", async () => {
    const bias = { [String("q".charCodeAt(0))]: 100 };
    const all = await client.completions.create({ ...greedy, logit_bias: bias });
    assert.equal(all.choices[0]!.text, "q".repeat(12));
    const stopped = await client.completions.create({ ...greedy, logit_bias: bias, stop: ["x", "qqq"] });
    assert.deepEqual([stopped.choices[0]!.text, stopped.choices[0]!.finish_reason], ["", "stop"]);
    const ids = { ...greedy, logit_bias: bias, stop_token_ids: ["q".charCodeAt(0)] };
    assert.equal((await client.completions.create(ids)).choices[0]!.finish_reason, "stop");
  });

  test("log-probabilities, whole and in a stream", async () => {
    const expected = await served.engine.generate("Hello", { maxTokens: 12, temperature: 0, logprobs: 2 });
    const { choices } = await client.completions.create({ ...greedy, logprobs: 2 });
    const logprobs = choices[0]!.logprobs!;
    assert.deepEqual(logprobs.token_logprobs, expected.logprobs);
    assert.equal(logprobs.tokens!.length, 12);
    assert.equal(Object.keys(logprobs.top_logprobs![0]!).length, 2);
    // Greedy: the token is the likeliest one.
    for (const [i, word] of logprobs.tokens!.entries()) {
      assert.equal(logprobs.top_logprobs![i]![word], logprobs.token_logprobs![i]);
    }
    const parts = [];
    const offsets = [];
    for await (const chunk of await client.completions.create({ ...greedy, logprobs: 2, stream: true })) {
      parts.push(...(chunk.choices[0]!.logprobs?.token_logprobs ?? []));
      offsets.push(...(chunk.choices[0]!.logprobs?.text_offset ?? []));
    }
    assert.deepEqual(parts, expected.logprobs);
    assert.deepEqual(offsets, logprobs.text_offset);
  });

  test("echo puts the prompt before, with its log-probabilities", async () => {
    const plain = await client.completions.create(greedy);
    const echoed = await client.completions.create({ ...greedy, echo: true });
    assert.equal(echoed.choices[0]!.text, `Hello${plain.choices[0]!.text}`);
    const score = await served.engine.score("Hello");
    for (const logprobs of [0, 3]) {
      const { choices } = await client.completions.create({ ...greedy, echo: true, logprobs });
      const got = choices[0]!.logprobs!;
      assert.deepEqual(got.tokens!.slice(0, 5), ["H", "e", "l", "l", "o"]);
      assert.deepEqual(got.text_offset!.slice(0, 6), [0, 1, 2, 3, 4, 5]);
      for (const [i, value] of score.logprobs.entries()) {
        if (value === null) assert.equal(got.token_logprobs![i], null);
        else assert.ok(Math.abs(got.token_logprobs![i]! - value) < 1e-4);
      }
      if (logprobs === 3) assert.equal(Object.keys(got.top_logprobs![1]!).length, 3);
    }
    const stream = await client.completions.create({ ...greedy, echo: true, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]!.text;
    assert.equal(text, echoed.choices[0]!.text);
  });

  test("max_tokens 0 with echo scores a prompt and generates nothing", async () => {
    const { choices, usage } = await client.completions.create({
      ...greedy,
      max_tokens: 0,
      echo: true,
      logprobs: 1,
    });
    assert.equal(choices[0]!.text, "Hello");
    assert.equal(choices[0]!.logprobs!.token_logprobs!.length, 5);
    assert.equal(usage!.completion_tokens, 0);
  });

  test("ids of the tokens, when asked for", async () => {
    const expected = await served.engine.generate("Hello", { maxTokens: 12, temperature: 0 });
    const body = { ...greedy, return_token_ids: true };
    const { choices } = (await (await post(`${served.url}/v1/completions`, body)).json()) as {
      choices: { token_ids: number[] }[];
    };
    assert.deepEqual(choices[0]!.token_ids, expected.tokens);
    const all = await events(await post(`${served.url}/v1/completions`, { ...body, stream: true }));
    const ids = all.slice(0, -1).flatMap((event) => JSON.parse(event).choices[0].token_ids ?? []);
    assert.deepEqual(ids, expected.tokens);
  });

  test("null is what is not set", async () => {
    const nothing = {
      stop: null,
      seed: null,
      n: null,
      logit_bias: null,
      suffix: null,
      logprobs: null,
      user: "me",
    };
    assert.equal((await client.completions.create({ ...greedy, ...nothing })).choices.length, 1);
  });

  const refusals: [name: string, body: object, code: string, message: RegExp][] = [
    ["no prompt", { model }, "ERR_OPTION", /`prompt` is missing/],
    [
      "a misspelt field",
      { prompt: "x", max_token: 1 },
      "ERR_OPTION",
      /`max_token`; did you mean `max_tokens`\?/,
    ],
    ["a wrong type", { prompt: "x", top_p: "much" }, "ERR_OPTION", /`top_p` must be number, got 'much'/],
    ["out of range", { prompt: "x", top_p: 2 }, "ERR_OPTION", /`top_p` must be <= 1, got 2/],
    ["a suffix", { prompt: "x", suffix: "y" }, "ERR_NOT_SUPPORTED", /`suffix` is not supported/],
    ["best_of", { prompt: "x", best_of: 4 }, "ERR_NOT_SUPPORTED", /ask for `n`/],
    ["an empty prompt", { prompt: "" }, "ERR_EMPTY_PROMPT", /no tokens/],
    ["a token beyond the vocabulary", { prompt: [1, 300] }, "ERR_TOKEN_RANGE", /token 300 at position 1/],
    ["a prompt too long", { prompt: "x".repeat(200) }, "ERR_CONTEXT_LENGTH", /200/],
    ["too many tokens", { prompt: "x", max_tokens: 128 }, "ERR_CONTEXT_LENGTH", /`max_tokens` is 128 after/],
    ["tokens 0", { prompt: "x", max_tokens: 0 }, "ERR_OPTION", /needs `echo`/],
    ["greedy twice", { prompt: "x", temperature: 0, n: 2 }, "ERR_OPTION", /greedy samples are all the same/],
    ["too many samples", { prompt: ["x", "y"], n: 100 }, "ERR_OPTION", /200 continuations/],
    [
      "a bias for no token",
      { prompt: "x", logit_bias: { q: 1 } },
      "ERR_OPTION",
      /unknown field `logit_bias.q`/,
    ],
    ["options of no stream", { prompt: "x", stream_options: {} }, "ERR_OPTION", /set `stream`/],
  ];
  for (const [name, body, code, message] of refusals) {
    test(`refuses ${name}, saying what is wrong`, async () => {
      await assert.rejects(client.completions.create(body as typeof greedy), (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError, String(error));
        assert.equal(error.code, code);
        assert.equal(error.type, "invalid_request_error");
        assert.match(error.message, message);
        return true;
      });
    });
  }

  test("another model is not found", async () => {
    await assert.rejects(client.completions.create({ ...greedy, model: "gpt-5" }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, "ERR_MODEL_NOT_FOUND");
      return true;
    });
    assert.equal((await client.models.retrieve("tiny")).id, "tiny");
    await assert.rejects(client.models.retrieve("gpt-5"), OpenAI.NotFoundError);
    assert.deepEqual(
      (await client.models.list()).data.map((entry) => entry.id),
      ["tiny"],
    );
  });

  test("embeddings are refused clearly", async () => {
    await assert.rejects(client.embeddings.create({ model, input: "x" }), {
      code: "ERR_NOT_SUPPORTED",
      message: /gives no embeddings/,
    });
  });

  test("tokenize and detokenize", async () => {
    const tokenized = await post(`${served.url}/tokenize`, { prompt: "Hé", return_token_strs: true });
    assert.deepEqual(await tokenized.json(), {
      count: 3,
      max_model_len: 128,
      tokens: [72, 195, 169],
      token_strs: ["H", "bytes:\\xc3", "bytes:\\xa9"],
    });
    const text = await post(`${served.url}/detokenize`, { tokens: [72, 195, 169] });
    assert.deepEqual(await text.json(), { prompt: "Hé" });
  });
});

describe("a stream as it goes", () => {
  test("tokens arrive when they come, and abort cancels in the engine", async () => {
    await using served = await serveFake();
    const { executor } = served;
    const controller = new AbortController();
    const pending = openai(served.url).completions.create(
      { model: "nowhere", prompt: "Hello", stream: true },
      { signal: controller.signal },
    );
    await eventually(() => executor.requests.size === 1);
    executor.emit({ text: "a" });
    const stream = await pending;
    const iterator = stream[Symbol.asyncIterator]();
    assert.equal((await iterator.next()).value?.choices[0]?.text, "a");
    executor.emit({ text: "b" });
    assert.equal((await iterator.next()).value?.choices[0]?.text, "b");
    controller.abort();
    assert.equal((await iterator.next()).done, true);
    await eventually(() => executor.cancelled.length === 1);
  });

  test("leaving the client's loop cancels, too", async () => {
    await using served = await serveFake();
    const { executor } = served;
    const pending = openai(served.url).completions.create({ model: "nowhere", prompt: "x", stream: true });
    await eventually(() => executor.requests.size === 1);
    executor.emit({ text: "a" });
    for await (const _ of await pending) break;
    await eventually(() => executor.cancelled.length === 1);
    await eventually(() => served.log.some(({ code }) => code === "ERR_CLIENT_GONE"));
  });

  test("a request that is no stream is cancelled with its connection, too, and all of its prompts", async () => {
    await using served = await serveFake();
    const { executor } = served;
    const signal = AbortSignal.timeout(100);
    const body = { prompt: ["a", "b", "c"] };
    await assert.rejects(post(`${served.url}/v1/completions`, body, { signal }), { name: "TimeoutError" });
    await eventually(() => executor.cancelled.length === 3);
  });

  test("what fails before the first token is an answer, what fails later the last event", async () => {
    await using served = await serveFake();
    const { executor } = served;
    const early = post(`${served.url}/v1/completions`, { prompt: "x", stream: true });
    await eventually(() => executor.requests.size === 1);
    executor.emit({ finish: "error", errorCode: "ERR_RANK_LOST", errorMessage: "rank 1 is gone" });
    assert.equal((await early).status, 503);

    const late = openai(served.url).completions.create({ model: "nowhere", prompt: "x", stream: true });
    await eventually(() => executor.requests.size === 2);
    executor.emit(
      { text: "a" },
      { finish: "error", errorCode: "ERR_RANK_LOST", errorMessage: "rank 1 is gone" },
    );
    await assert.rejects(
      async () => {
        for await (const _ of await late);
      },
      (error) => {
        assert.ok(error instanceof OpenAI.APIError);
        assert.equal(error.code, "ERR_RANK_LOST");
        assert.match(error.message, /rank 1 is gone/);
        return true;
      },
    );
  });

  test("a comment keeps a silent stream alive", async () => {
    await using served = await serveFake({ keepAliveSeconds: 0.05 });
    const { executor } = served;
    const response = await post(`${served.url}/v1/completions`, { prompt: "x", stream: true });
    assert.equal(response.status, 200);
    await eventually(() => executor.requests.size === 1);
    executor.emit({ text: "a", finish: "length" });
    assert.match(await response.text(), /^: waiting\n\n.*data: \[DONE\]\n\n$/s);
  });
});
