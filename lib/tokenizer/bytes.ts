/** One token per byte of UTF-8: what models with 256 entries are trained on. */
import type { Tokenizer } from "../tokenizer.js";
import { VocabularyDecoder } from "./vocabulary.js";

export function byteTokenizer(): Tokenizer {
  const bytes = (id: number) => (id < 256 ? Uint8Array.of(id) : undefined);
  const decoder = new VocabularyDecoder({ bytes, isSpecial: () => false, leadingSpaces: 0 });
  return {
    vocabSize: 256,
    eosTokenIds: [],
    encode: (text) => [...Buffer.from(text, "utf8")],
    decode: (ids, options) => decoder.decode(ids, options),
    stream: (options) => decoder.stream(options),
    tokenBytes: (id) => decoder.bytesOf(id, false),
    tokenText: (id) => decoder.tokenText(id),
  };
}
