/** POST /v1/completions. */
import Type, { type Static } from "typebox";
import { boolean, integer, object, unsupported } from "./fields.js";
import { usage } from "./responses.js";
import { samplingFields } from "./sampling.js";

const ids = { type: "array", items: { type: "integer", minimum: 0, maximum: 2 ** 31 - 1 }, minItems: 1 };

export const completionRequest = object("CompletionRequest", {
  ...samplingFields,
  prompt: Type.Unsafe<string | string[] | number[] | number[][]>({
    anyOf: [
      { type: "string" },
      { type: "array", items: { type: "string" }, minItems: 1 },
      ids,
      { type: "array", items: ids, minItems: 1 },
    ],
    description: "Text, token ids, or a list of one of them.",
  }),
  max_tokens: integer("Most tokens of the output; 0 only with `echo`. Default 16.", {
    minimum: 0,
    maximum: 2 ** 31 - 1,
  }),
  echo: boolean("Begin the output with the prompt. Default false."),
  logprobs: integer("Log-probabilities of the tokens, and of the k likeliest.", { minimum: 0, maximum: 20 }),
  best_of: unsupported("ask for `n` and choose yourself", [1]),
  suffix: unsupported("this model continues text, it does not fill it in"),
});
export type CompletionRequest = Static<typeof completionRequest>;

export const completionLogprobs = Type.Object({
  tokens: Type.Array(Type.String()),
  token_logprobs: Type.Array(Type.Unsafe<number | null>({ type: ["number", "null"] })),
  top_logprobs: Type.Unsafe<(Record<string, number> | null)[] | null>({
    type: ["array", "null"],
    items: { type: ["object", "null"], additionalProperties: { type: "number" } },
  }),
  text_offset: Type.Array(Type.Integer()),
});
export type CompletionLogprobs = Static<typeof completionLogprobs>;

export const completionResponse = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal("text_completion"),
    created: Type.Integer(),
    model: Type.String(),
    choices: Type.Array(
      Type.Object({
        index: Type.Integer(),
        text: Type.String(),
        logprobs: Type.Union([completionLogprobs, Type.Null()]),
        finish_reason: Type.Unsafe<string>({ enum: ["stop", "length"] }),
      }),
    ),
    usage,
  },
  { $id: "CompletionResponse" },
);
