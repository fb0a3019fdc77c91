/** POST /v1/chat/completions. */
import Type, { type Static } from "typebox";
import { boolean, ignored, integer, object, unsupported } from "./fields.js";
import { usage } from "./responses.js";
import { samplingFields } from "./sampling.js";

const part = Type.Object(
  { type: Type.Literal("text"), text: Type.String() },
  { additionalProperties: false, description: "Text; this model takes nothing else." },
);

export const chatMessage = object("ChatMessage", {
  role: Type.Unsafe<string>({ enum: ["system", "developer", "user", "assistant", "tool"] }),
  content: Type.Unsafe<string | { type: "text"; text: string }[]>({
    anyOf: [{ type: "string" }, { type: "array", items: part, minItems: 1 }],
    description: "Text, or a list of parts of type `text`: this model takes nothing else.",
  }),
  name: Type.Optional(Type.Unsafe<string | null>({ type: ["string", "null"] })),
  tool_call_id: Type.Optional(Type.Unsafe<string | null>({ type: ["string", "null"] })),
  refusal: ignored(),
});
export type ChatMessage = Static<typeof chatMessage>;

export const chatRequest = object("ChatCompletionRequest", {
  ...samplingFields,
  messages: Type.Unsafe<ChatMessage[]>({
    type: "array",
    items: { $ref: "ChatMessage#" },
    minItems: 1,
    description: "The conversation; the model's chat template makes a prompt of it.",
  }),
  max_tokens: integer("Most tokens of the answer. Default: what is left of the context.", {
    minimum: 1,
    maximum: 2 ** 31 - 1,
  }),
  max_completion_tokens: integer("The newer name of `max_tokens`.", { minimum: 1, maximum: 2 ** 31 - 1 }),
  logprobs: boolean("Log-probabilities of the tokens. Default false."),
  top_logprobs: integer("And of the k likeliest; with `logprobs`.", { minimum: 0, maximum: 20 }),
  response_format: unsupported("output cannot be constrained", [{ type: "text" }]),
  tools: unsupported("this server calls no tools", [[]]),
  tool_choice: unsupported("this server calls no tools", ["none", "auto"]),
  parallel_tool_calls: ignored(),
  functions: unsupported("this server calls no tools"),
  function_call: unsupported("this server calls no tools", ["none"]),
  audio: unsupported("text only"),
  modalities: unsupported("text only", [["text"]]),
  prediction: unsupported("there is no speculative decoding"),
  reasoning_effort: unsupported("this model does not reason", ["none"]),
  store: unsupported("nothing is stored", [false]),
  safety_identifier: ignored(),
  prompt_cache_key: ignored(),
  verbosity: ignored(),
});
export type ChatRequest = Static<typeof chatRequest>;

const tokenLogprob = {
  token: Type.String(),
  logprob: Type.Number(),
  bytes: Type.Unsafe<number[] | null>({ type: ["array", "null"], items: { type: "integer" } }),
};
const chatTokenLogprob = Type.Object({
  ...tokenLogprob,
  top_logprobs: Type.Array(Type.Object(tokenLogprob)),
});
export type ChatTokenLogprob = Static<typeof chatTokenLogprob>;

export const chatResponse = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal("chat.completion"),
    created: Type.Integer(),
    model: Type.String(),
    choices: Type.Array(
      Type.Object({
        index: Type.Integer(),
        message: Type.Object({
          role: Type.Literal("assistant"),
          content: Type.String(),
          refusal: Type.Null(),
        }),
        logprobs: Type.Union([
          Type.Object({ content: Type.Array(chatTokenLogprob), refusal: Type.Null() }),
          Type.Null(),
        ]),
        finish_reason: Type.Unsafe<string>({ enum: ["stop", "length"] }),
      }),
    ),
    usage,
  },
  { $id: "ChatCompletionResponse" },
);
