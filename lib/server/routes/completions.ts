/** POST /v1/completions */
import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import type { Engine } from "../../engine.js";
import { ApiError } from "../errors.js";
import { completionFormat, type Echo } from "../formats/completion.js";
import { GenerationRun, type Work } from "../generation-run.js";
import { echoOf, tokensOf } from "../prompts.js";
import { checkSamples, checkStreamOptions, outputTokens, samplingOptions } from "../sampling-options.js";
import { type CompletionRequest, completionRequest, completionResponse } from "../schemas/completions.js";
import { errors } from "../schemas/responses.js";
import { checkModel, type Service } from "../service.js";
import { tokenWords } from "../token-words.js";
import { generating, streamed } from "./generating.js";

export function completionRoutes(app: FastifyInstance, service: Service): void {
  app.addSchema(completionRequest);
  app.addSchema(completionResponse);
  app.post<{ Body: CompletionRequest }>(
    "/v1/completions",
    {
      schema: {
        operationId: "createCompletion",
        summary: "Continues prompts",
        body: { $ref: "CompletionRequest#" },
        response: { 200: streamed("CompletionResponse"), ...errors(...generating) },
      },
    },
    (request, reply) => {
      const run = new GenerationRun(service, request, reply);
      return run.serve(() => understand(request.body, service, run.signal));
    },
  );
}

type TextOrTokens = string | number[];

function promptsOf(prompt: CompletionRequest["prompt"]): TextOrTokens[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as TextOrTokens[]);
}

async function understand(body: CompletionRequest, service: Service, signal: AbortSignal): Promise<Work> {
  const { host, options } = service;
  const { engine } = host;
  checkModel(body.model, options);
  checkStreamOptions(body);
  const given = promptsOf(body.prompt);
  const n = body.n ?? 1;
  checkSamples(given.length, n, options);
  const prompts = given.map((prompt) => tokensOf(prompt, engine, options));
  if (body.max_tokens === 0 && !body.echo) {
    throw new ApiError("ERR_OPTION", "`max_tokens` 0 asks for nothing: it needs `echo`", {
      param: "max_tokens",
    });
  }
  const logprobs = body.logprobs ?? undefined;
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const maxTokens = outputTokens(body.max_tokens, 16, longest, engine.maxSequenceLength, options);
  const echoes = body.echo
    ? await Promise.all(
        prompts.map((tokens, i) => echoOf(textOf(given[i]!, engine), tokens, logprobs, engine, signal)),
      )
    : [];
  const includeUsage = body.stream_options?.include_usage ?? false;
  return {
    engine,
    prompts,
    options: maxTokens === 0 ? undefined : samplingOptions(body, maxTokens, logprobs),
    stream: body.stream ?? false,
    includeUsage,
    format: completionFormat({
      id: `cmpl-${randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: options.modelName,
      includeUsage,
      logprobs,
      returnTokenIds: body.return_token_ids ?? false,
      words: tokenWords(engine),
      echo: (index): Echo | undefined => echoes[Math.floor(index / n)],
      // The text of a choice begins with its prompt, or continues it.
      decoder: (index) =>
        engine.tokenizer?.stream(body.echo ? {} : { after: prompts[Math.floor(index / n)]! }),
    }),
  };
}

const textOf = (prompt: TextOrTokens, { tokenizer }: Engine): string =>
  typeof prompt === "string" ? prompt : (tokenizer?.decode(prompt) ?? "");
