/** POST /tokenize and /detokenize */
import type { FastifyInstance } from "fastify";
import type { Tokenizer } from "../../tokenizer.js";
import { ApiError } from "../errors.js";
import { checkTextLength } from "../prompts.js";
import { errors, json } from "../schemas/responses.js";
import {
  type DetokenizeRequest,
  detokenizeRequest,
  detokenizeResponse,
  type TokenizeRequest,
  tokenizeRequest,
  tokenizeResponse,
} from "../schemas/tokens.js";
import { checkModel, type Service } from "../service.js";
import { tokenWords } from "../token-words.js";

const statuses = [400, 401, 403, 404, 413, 415, 500, 503] as const;

export function tokenRoutes(app: FastifyInstance, { host, options }: Service): void {
  for (const schema of [tokenizeRequest, tokenizeResponse, detokenizeRequest, detokenizeResponse]) {
    app.addSchema(schema);
  }
  app.post<{ Body: TokenizeRequest }>(
    "/tokenize",
    {
      schema: {
        operationId: "tokenize",
        summary: "Text to token ids",
        body: { $ref: "TokenizeRequest#" },
        response: { 200: json({ $ref: "TokenizeResponse#" }, "The ids."), ...errors(...statuses) },
      },
    },
    async ({ body }) => {
      const { engine } = host;
      checkModel(body.model, options);
      const tokenizer = tokenizerOf(engine.tokenizer);
      checkTextLength(body.prompt, engine, engine.maxSequenceLength);
      const tokens = tokenizer.encode(body.prompt, { addSpecialTokens: body.add_special_tokens ?? true });
      const { word } = tokenWords(engine);
      return {
        count: tokens.length,
        max_model_len: engine.maxSequenceLength,
        tokens,
        ...(body.return_token_strs && { token_strs: tokens.map(word) }),
      };
    },
  );
  app.post<{ Body: DetokenizeRequest }>(
    "/detokenize",
    {
      schema: {
        operationId: "detokenize",
        summary: "Token ids to text",
        body: { $ref: "DetokenizeRequest#" },
        response: { 200: json({ $ref: "DetokenizeResponse#" }, "The text."), ...errors(...statuses) },
      },
    },
    async ({ body }) => {
      checkModel(body.model, options);
      return { prompt: tokenizerOf(host.engine.tokenizer).decode(body.tokens) };
    },
  );
}

function tokenizerOf(tokenizer: Tokenizer | undefined): Tokenizer {
  if (tokenizer) return tokenizer;
  throw new ApiError("ERR_NO_TOKENIZER", "this engine has no tokenizer: its checkpoint came without one");
}
