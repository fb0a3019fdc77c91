/** POST /tokenize and /detokenize, with vLLM's names. */
import Type, { type Static } from "typebox";
import { boolean, object, text, tokenId } from "./fields.js";

export const tokenizeRequest = object("TokenizeRequest", {
  model: text("The model's name. Left out: the one there is."),
  prompt: Type.String({ description: "Text to make token ids of." }),
  add_special_tokens: boolean("With the tokens that begin a text. Default true."),
  return_token_strs: boolean("Also the text of each token. Default false."),
});
export type TokenizeRequest = Static<typeof tokenizeRequest>;

export const tokenizeResponse = Type.Object(
  {
    count: Type.Integer(),
    max_model_len: Type.Integer(),
    tokens: Type.Array(Type.Integer()),
    token_strs: Type.Optional(Type.Array(Type.String())),
  },
  { $id: "TokenizeResponse" },
);

export const detokenizeRequest = object("DetokenizeRequest", {
  model: text("The model's name. Left out: the one there is."),
  tokens: Type.Array(tokenId, { description: "Token ids to make text of." }),
});
export type DetokenizeRequest = Static<typeof detokenizeRequest>;

export const detokenizeResponse = Type.Object({ prompt: Type.String() }, { $id: "DetokenizeResponse" });
