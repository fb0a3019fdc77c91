/** /v1/chat/completions: templates, and the answer whole and in parts. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Engine } from "../../lib/engine.js";
import { loadChatTemplate } from "../../lib/server/chat-template.js";
import type { ChatMessage } from "../../lib/server/schemas/chat.js";
import { fakeEngine, tinyManifest } from "../helpers/fake-executor.js";
import { eventually, openai, post, serve, serveFake, serveTiny, tinyEngine } from "../helpers/server.js";

const conversation: ChatMessage[] = [
  { role: "system", content: "Be brief." },
  {
    role: "user",
    content: [
      { type: "text", text: "Who " },
      { type: "text", text: "are you?" },
    ],
  },
];

describe("the answer", () => {
  let tiny: Awaited<ReturnType<typeof tinyEngine>>;
  let served: Awaited<ReturnType<typeof serveTiny>>;
  before(async () => {
    tiny = await tinyEngine();
    served = await serveTiny(tiny.directory);
  });
  after(async () => {
    await served[Symbol.asyncDispose]();
    await tiny[Symbol.asyncDispose]();
  });
  const request = {
    model: "tiny",
    messages: [{ role: "user" as const, content: "Hello" }],
    max_completion_tokens: 10,
    temperature: 0,
  };

  test("whole, as the engine continues the plain template", async () => {
    const expected = await served.engine.generate("User: Hello\nAssistant:", {
      maxTokens: 10,
      temperature: 0,
    });
    const completion = await openai(served.url).chat.completions.create(request);
    assert.equal(completion.object, "chat.completion");
    assert.deepEqual(completion.choices, [
      {
        index: 0,
        message: { role: "assistant", content: expected.text, refusal: null },
        logprobs: null,
        finish_reason: "length",
      },
    ]);
    assert.deepEqual(completion.usage, { prompt_tokens: 22, completion_tokens: 10, total_tokens: 32 });
  });

  test("in parts, which the client puts together to the same", async () => {
    const whole = await openai(served.url).chat.completions.create(request);
    const stream = openai(served.url).chat.completions.stream({
      ...request,
      stream_options: { include_usage: true },
    });
    const roles: unknown[] = [];
    for await (const chunk of stream) roles.push(chunk.choices[0]?.delta.role);
    assert.deepEqual(roles.filter(Boolean), ["assistant"]);
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0]!.message.content, whole.choices[0]!.message.content);
    assert.equal(final.choices[0]!.finish_reason, "length");
    assert.deepEqual(final.usage, whole.usage);
  });

  test("log-probabilities with bytes and the likeliest tokens", async () => {
    const { choices } = await openai(served.url).chat.completions.create({
      ...request,
      logprobs: true,
      top_logprobs: 2,
    });
    const content = choices[0]!.logprobs!.content!;
    assert.equal(content.length, 10);
    for (const { token, bytes, logprob, top_logprobs } of content) {
      assert.equal(bytes!.length, 1); // one token for each byte
      assert.deepEqual(top_logprobs[0], { token, bytes, logprob });
      assert.ok(top_logprobs[1]!.logprob <= logprob);
    }
  });

  test("without a limit it goes on to the end of the context", async () => {
    const { usage } = await openai(served.url).chat.completions.create({
      model: "tiny",
      messages: request.messages,
      temperature: 0,
    });
    assert.equal(usage!.total_tokens, 128);
  });

  const refusals: [name: string, body: object, code: string, message: RegExp][] = [
    ["no messages", { messages: [] }, "ERR_OPTION", /`messages` must NOT have fewer than 1 items/],
    [
      "a role there is not",
      { messages: [{ role: "boss", content: "x" }] },
      "ERR_OPTION",
      /`messages\[0\].role` must be one of "system"/,
    ],
    [
      "an image",
      { messages: [{ role: "user", content: [{ type: "image_url" }] }] },
      "ERR_OPTION",
      /takes nothing else/,
    ],
    [
      "tools",
      { messages: request.messages, tools: [{ type: "function" }] },
      "ERR_NOT_SUPPORTED",
      /calls no tools/,
    ],
    [
      "JSON mode",
      { messages: request.messages, response_format: { type: "json_object" } },
      "ERR_NOT_SUPPORTED",
      /cannot be constrained/,
    ],
    ["top_logprobs alone", { messages: request.messages, top_logprobs: 2 }, "ERR_OPTION", /needs `logprobs`/],
  ];
  for (const [name, body, code, message] of refusals) {
    test(`refuses ${name}`, async () => {
      const response = await post(`${served.url}/v1/chat/completions`, body);
      const { error } = (await response.json()) as { error: { code: string; message: string } };
      assert.deepEqual([response.status, error.code], [400, code]);
      assert.match(error.message, message);
    });
  }

  test("what amounts to nothing is taken", async () => {
    const harmless = {
      tools: [],
      tool_choice: "none",
      response_format: { type: "text" },
      store: false,
      user: "me",
    };
    const response = await post(`${served.url}/v1/chat/completions`, { ...request, ...harmless });
    assert.equal(response.status, 200);
  });
});

describe("templates", () => {
  test("the plain one names who speaks, and ends where the user would", async () => {
    const template = await loadChatTemplate(fakeEngine().engine, assert.fail);
    assert.equal(template.render(conversation), "Be brief.\nUser: Who are you?\nAssistant:");
    await using served = await serveFake();
    const { executor } = served;
    const asked = openai(served.url).chat.completions.create({
      model: "nowhere",
      messages: [{ role: "user", content: "x" }],
    });
    await eventually(() => executor.requests.size === 1);
    executor.emit({ text: " I am.\nUser: y" });
    const { choices } = await asked;
    assert.deepEqual([choices[0]!.message.content, choices[0]!.finish_reason], [" I am.", "stop"]);
  });

  const configured = async (chat_template: unknown) => {
    const tiny = await tinyEngine();
    await writeFile(
      join(tiny.directory, "tokenizer_config.json"),
      JSON.stringify({ chat_template, bos_token: "<s>", eos_token: { content: "</s>" } }),
    );
    const engine = {
      directory: tiny.directory,
      manifest: {
        ...tinyManifest,
        tokenizer: { kind: "file", file: "tokenizer.json", configFile: "tokenizer_config.json" },
      },
    } as Engine;
    const warnings: string[] = [];
    const template = await loadChatTemplate(engine, (why) => warnings.push(why));
    await tiny[Symbol.asyncDispose]();
    return { template, warnings };
  };
  const chatMl =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}{{ eos_token }}{% endfor %}" +
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";

  test("the model's own is used, with its special tokens", async () => {
    const { template } = await configured(chatMl);
    assert.equal(
      template.render(conversation),
      "<s><|system|>Be brief.</s><|user|>Who are you?</s><|assistant|>",
    );
    assert.ok(template.own);
  });

  test("of several the default one", async () => {
    const { template } = await configured([
      { name: "rag", template: "no" },
      { name: "default", template: chatMl },
    ]);
    assert.match(template.render(conversation), /^<s>/);
  });

  test("one that refuses a conversation says why; one that is broken is left alone", async () => {
    const { template } = await configured("{{ raise_exception('roles must alternate') }}");
    assert.throws(() => template.render(conversation), {
      code: "ERR_OPTION",
      message: /roles must alternate/,
    });
    const broken = await configured("{% for");
    assert.equal(broken.template.own, false);
    assert.match(broken.warnings[0]!, /cannot be used/);
  });

  test("special tokens of the template become tokens", async () => {
    const tiny = await tinyEngine();
    const engine = await Engine.load(tiny.directory);
    const encoded: unknown[] = [];
    const bytes = engine.tokenizer!;
    const tokenizer = {
      ...bytes,
      encode(text: string, options: object) {
        encoded.push([text, options]);
        return bytes.encode(text);
      },
    };
    await writeFile(
      join(tiny.directory, "tokenizer_config.json"),
      JSON.stringify({ chat_template: "<s>{{ messages[0].content }}" }),
    );
    const manifest = {
      ...engine.manifest,
      tokenizer: { kind: "file" as const, file: "tokenizer.json", configFile: "tokenizer_config.json" },
    };
    Object.assign(engine, { tokenizer, manifest });
    await using served = await serve(engine);
    const body = { messages: [{ role: "user", content: "hi" }], max_tokens: 1 };
    assert.equal((await post(`${served.url}/v1/chat/completions`, body)).status, 200);
    assert.deepEqual(encoded, [["<s>hi", { addSpecialTokens: false, parseSpecialTokens: true }]]);
    await tiny[Symbol.asyncDispose]();
  });
});
