/** Tokens as a response shows them: text where they are text, their bytes where a character spans several tokens. */
import type { Engine } from "../engine.js";

export interface TokenWords {
  /** The token alone; `bytes:\xe2\x82` for part of a character; `token:5` without a tokenizer. */
  word(id: number): string;
  bytes(id: number): number[] | null;
}

export function tokenWords({ tokenizer }: Pick<Engine, "tokenizer">): TokenWords {
  if (!tokenizer) return { word: (id) => `token:${id}`, bytes: () => null };
  return {
    word(id) {
      const text = tokenizer.tokenText(id);
      if (!text.includes("\ufffd")) return text;
      const hex = Array.from(tokenizer.tokenBytes(id), (byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
      return `bytes:${hex.join("")}`;
    },
    bytes: (id) => [...tokenizer.tokenBytes(id)],
  };
}
