/** Prompts as token ids: text through the tokenizer, ids checked one by one. */
import { ArgumentError } from "./errors.js";
import { optionError, shown } from "./options.js";
import type { Tokenizer } from "./tokenizer.js";

/** Text (needs the engine's tokenizer) or token ids. */
export type Prompt = string | readonly number[] | Int32Array;

export interface PromptContext {
  tokenizer: Tokenizer | undefined;
  vocabSize: number;
  /** For the suggestion when a prompt is empty. */
  bosTokenId: number | undefined;
  eosTokenIds: readonly number[];
}

function emptyPrompt({ bosTokenId, eosTokenIds }: PromptContext): ArgumentError {
  const start = bosTokenId ?? eosTokenIds[0];
  const hint =
    start === undefined
      ? "give at least one token"
      : `to start from nothing give the model's ${bosTokenId === undefined ? "end-of-text" : "begin-of-text"} token: [${start}]`;
  return new ArgumentError("ERR_EMPTY_PROMPT", `the prompt has no tokens; ${hint}`);
}

/**
 * @throws ArgumentError ERR_NO_TOKENIZER, ERR_EMPTY_PROMPT, ERR_TOKEN_RANGE (with the position), ERR_OPTION
 */
export function promptTokens(prompt: Prompt, context: PromptContext): Int32Array {
  let ids: readonly number[] | Int32Array;
  if (typeof prompt === "string") {
    if (!context.tokenizer) {
      throw new ArgumentError(
        "ERR_NO_TOKENIZER",
        "the prompt is text, but this engine has no tokenizer: its checkpoint came without one. Give token ids, or " +
          "rebuild from a checkpoint with a tokenizer.json",
      );
    }
    ids = context.tokenizer.encode(prompt);
  } else if (Array.isArray(prompt) || prompt instanceof Int32Array) {
    ids = prompt;
  } else {
    throw optionError("prompt", "text, an array of token ids or an Int32Array", prompt);
  }
  if (ids.length === 0) throw emptyPrompt(context);
  for (let i = 0; i < ids.length; i++) {
    const id: unknown = ids[i];
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= context.vocabSize) {
      throw new ArgumentError(
        "ERR_TOKEN_RANGE",
        `token ${shown(id)} at position ${i} of the prompt is not one of the model's ids from 0 to ${context.vocabSize - 1}`,
      );
    }
  }
  return Int32Array.from(ids);
}
