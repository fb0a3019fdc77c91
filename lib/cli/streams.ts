/** Generated text on its way to stdout. */
import type { Generation, GenerationResult } from "../generation.js";
import type { TokenLogprob } from "../sample-stream.js";
import type { Tokenizer } from "../tokenizer.js";
import type { Output } from "./context.js";

/** Text as it comes; without a tokenizer the token ids. */
export async function streamText(generation: Generation, output: Output, hasText: boolean): Promise<void> {
  let written = false;
  try {
    for await (const { text, token } of generation) {
      const piece = hasText ? text : token < 0 ? "" : `${written ? " " : ""}${token}`;
      if (piece === "") continue;
      output.write(piece);
      written = true;
    }
  } finally {
    if (written) output.write("\n");
  }
}

/** One line for each token: its log-probability, id and text, then the likeliest tokens in its place. */
export async function streamLogprobs(
  generation: Generation,
  output: Output,
  tokenizer: Tokenizer | undefined,
): Promise<void> {
  const shown = (token: number) => (tokenizer ? JSON.stringify(tokenizer.decode([token])) : `${token}`);
  for await (const { token, logprob, alternatives } of generation) {
    if (token < 0) continue; // text that was held back
    const others = (alternatives ?? []).map(
      (other: TokenLogprob) => `${shown(other.token)} ${other.logprob.toFixed(2)}`,
    );
    const line = `${(logprob ?? Number.NaN).toFixed(3).padStart(8)} ${String(token).padStart(7)}  ${shown(token).padEnd(16)}`;
    output.write(`${`${line}${others.length > 0 ? `  ${others.join("  ")}` : ""}`.trimEnd()}\n`);
  }
}

/** Several continuations, one after another: they grew at the same time. */
export function streamSamples(result: GenerationResult, output: Output, hasText: boolean): void {
  for (const [i, sample] of (result.samples ?? [result]).entries()) {
    output.write(`[${i + 1}] ${hasText ? sample.text : sample.tokens.join(" ")}\n`);
  }
}
