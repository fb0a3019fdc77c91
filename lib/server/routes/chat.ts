/** POST /v1/chat/completions */
import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import type { Engine } from "../../engine.js";
import { type ChatTemplate, loadChatTemplate } from "../chat-template.js";
import { ApiError } from "../errors.js";
import { chatFormat } from "../formats/chat.js";
import { GenerationRun, type Work } from "../generation-run.js";
import { checkTextLength, tokensOf } from "../prompts.js";
import { checkSamples, checkStreamOptions, outputTokens, samplingOptions } from "../sampling-options.js";
import { type ChatRequest, chatMessage, chatRequest, chatResponse } from "../schemas/chat.js";
import { errors } from "../schemas/responses.js";
import { checkModel, type Service } from "../service.js";
import { tokenWords } from "../token-words.js";
import { generating, streamed } from "./generating.js";

export function chatRoutes(app: FastifyInstance, service: Service): void {
  const templates = new WeakMap<Engine, Promise<ChatTemplate>>();
  const templateOf = (engine: Engine): Promise<ChatTemplate> => {
    let template = templates.get(engine);
    if (!template) {
      template = loadChatTemplate(engine, (why) => service.log.warn(why));
      templates.set(engine, template);
    }
    return template;
  };
  app.addSchema(chatMessage);
  app.addSchema(chatRequest);
  app.addSchema(chatResponse);
  app.post<{ Body: ChatRequest }>(
    "/v1/chat/completions",
    {
      schema: {
        operationId: "createChatCompletion",
        summary: "Answers a conversation",
        body: { $ref: "ChatCompletionRequest#" },
        response: { 200: streamed("ChatCompletionResponse"), ...errors(...generating) },
      },
    },
    (request, reply) => {
      const run = new GenerationRun(service, request, reply);
      return run.serve(async () => {
        const { engine } = service.host;
        return understand(request.body, engine, await templateOf(engine), service);
      });
    },
  );
}

function understand(body: ChatRequest, engine: Engine, template: ChatTemplate, { options }: Service): Work {
  checkModel(body.model, options);
  checkStreamOptions(body);
  checkSamples(1, body.n, options);
  if (body.top_logprobs && !body.logprobs) {
    throw new ApiError("ERR_OPTION", "`top_logprobs` needs `logprobs`", { param: "top_logprobs" });
  }
  const prompt = tokensOf(encode(template.render(body.messages), engine, template, options), engine, options);
  const maxTokens = outputTokens(
    body.max_completion_tokens ?? body.max_tokens,
    Number.POSITIVE_INFINITY,
    prompt.length,
    engine.maxSequenceLength,
    options,
  );
  const sampling = samplingOptions(body, maxTokens, body.logprobs ? (body.top_logprobs ?? 0) : undefined);
  const { stop = [] } = sampling;
  const includeUsage = body.stream_options?.include_usage ?? false;
  return {
    engine,
    prompts: [prompt],
    options: { ...sampling, stop: [...template.stop, ...(typeof stop === "string" ? [stop] : stop)] },
    stream: body.stream ?? false,
    includeUsage,
    format: chatFormat({
      id: `chatcmpl-${randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: options.modelName,
      includeUsage,
      logprobs: body.logprobs ?? false,
      returnTokenIds: body.return_token_ids ?? false,
      words: tokenWords(engine),
    }),
  };
}

/** A template of the model's writes special tokens itself; the plain one is text like any other. */
function encode(
  text: string,
  engine: Engine,
  { own }: ChatTemplate,
  { maxPromptTokens }: Service["options"],
): string | number[] {
  if (!own || !engine.tokenizer) return text;
  checkTextLength(text, engine, maxPromptTokens);
  return engine.tokenizer.encode(text, { addSpecialTokens: false, parseSpecialTokens: true });
}
