/** From an example to the tokens that are scored. */
import { ArgumentError } from "../../errors.js";
import type { Tokenizer } from "../../tokenizer.js";
import type { Example } from "./task.js";

/** An example as others are shown it. */
export type Shot = Pick<Example, "context" | "target">;

/** Between context and what follows, and after each shot. */
const targetDelimiter = " ";
const shotDelimiter = "\n\n";

/** The shots with their answers, then the example without. */
export function promptOf(shots: readonly Shot[], example: Example): string {
  const before = shots.map(({ context, target }) => context + targetDelimiter + target + shotDelimiter);
  return before.join("") + example.context;
}

export interface ScoredTokens {
  tokens: Int32Array;
  /** The last ones, whose log-probabilities add up to the choice's. */
  scored: number;
  /** Whether tokens of the context had to go. */
  cut: boolean;
}

/**
 * The choice's tokens are those of prompt and choice together beyond as many as the prompt alone has, after white space
 * at the prompt's end has become the choice's. What is longer than the engine takes loses its beginning.
 * @throws ArgumentError ERR_CONTEXT_LENGTH when the choice alone is too long
 */
export function choiceTokens(
  tokenizer: Tokenizer,
  prompt: string,
  choices: readonly string[],
  maxTokens: number,
): ScoredTokens[] {
  const context = prompt.trimEnd();
  const contextTokens = tokenizer.encode(context).length;
  return choices.map((choice) => {
    const tokens = tokenizer.encode(prompt + targetDelimiter + choice);
    const scored = tokens.length - contextTokens;
    if (scored < 1 || scored >= maxTokens) {
      throw new ArgumentError(
        "ERR_CONTEXT_LENGTH",
        `the choice "${choice}" adds ${scored} tokens to its prompt; the engine takes from 1 to ${maxTokens - 1}`,
      );
    }
    return { tokens: Int32Array.from(tokens.slice(-maxTokens)), scored, cut: tokens.length > maxTokens };
  });
}
