/** How tokens are chosen: the fields that both kinds of completions have, OpenAI's and those that vLLM added. */
import Type, { type Static } from "typebox";
import { boolean, ignored, integer, number } from "./fields.js";

export const samplingFields = {
  model: Type.Optional(
    Type.Unsafe<string | null>({
      type: ["string", "null"],
      description: "The model's name, as /v1/models has it. Left out: the one there is.",
    }),
  ),
  temperature: number("0: always the likeliest token. Default 1.", { minimum: 0, maximum: 100 }),
  top_p: number("Only the likeliest tokens of that probability together. Default 1.", {
    exclusiveMinimum: 0,
    maximum: 1,
  }),
  n: integer("Continuations of each prompt. Default 1.", { minimum: 1, maximum: 128 }),
  stream: boolean("Send tokens as server-sent events, ended by [DONE]. Default false."),
  stream_options: Type.Optional(
    Type.Unsafe<{ include_usage?: boolean | null } | null>({
      type: ["object", "null"],
      properties: {
        include_usage: { type: ["boolean", "null"], description: "A last chunk with the usage." },
        include_obfuscation: { description: "Accepted, without effect." },
      },
      additionalProperties: false,
      description: "Of streams only.",
    }),
  ),
  stop: Type.Optional(
    Type.Unsafe<string | string[] | null>({
      anyOf: [
        { type: "string", minLength: 1 },
        { type: "array", items: { type: "string", minLength: 1 }, maxItems: 16 },
        { type: "null" },
      ],
      description: "Text, or up to 16 of them, that ends the output where it would appear.",
    }),
  ),
  seed: integer("The same seed gives the same text. Default: random.", {
    minimum: -(2 ** 53 - 1),
    maximum: 2 ** 53 - 1,
  }),
  presence_penalty: number("Off the logits of tokens that the output has. Default 0.", {
    minimum: -2,
    maximum: 2,
  }),
  frequency_penalty: number("The same, for each time they occur. Default 0.", { minimum: -2, maximum: 2 }),
  logit_bias: Type.Optional(
    Type.Unsafe<Record<string, number> | null>({
      type: ["object", "null"],
      patternProperties: { "^(0|[1-9][0-9]{0,9})$": { type: "number", minimum: -100, maximum: 100 } },
      additionalProperties: false,
      maxProperties: 1024,
      description: "Token id → what is added to its logit, from -100 to 100.",
    }),
  ),
  top_k: integer("Only the k likeliest tokens; 0: all. Default 0.", { minimum: 0, maximum: 2 ** 31 - 1 }),
  min_p: number("Only tokens at least this fraction as likely as the likeliest. Default 0.", {
    minimum: 0,
    maximum: 1,
  }),
  repetition_penalty: number("Above 1: less of what was said already. Default 1.", {
    minimum: 0.01, // logits are divided by it, and must stay finite
    maximum: 10,
  }),
  min_tokens: integer("Nothing ends the output before that many tokens. Default 0.", {
    minimum: 0,
    maximum: 2 ** 31 - 1,
  }),
  stop_token_ids: Type.Optional(
    Type.Unsafe<number[] | null>({
      type: ["array", "null"],
      items: { type: "integer", minimum: 0, maximum: 2 ** 31 - 1 },
      maxItems: 1024,
      description: "Token ids that end the output.",
    }),
  ),
  return_token_ids: boolean("Also the ids of the output's tokens, as `token_ids`. Default false."),
  ignore_eos: boolean("Go on after the model's end-of-text token. Default false."),
  user: ignored(),
  metadata: ignored(),
  service_tier: ignored(),
};

const samplingRequest = Type.Object(samplingFields);
export type SamplingRequest = Static<typeof samplingRequest>;
