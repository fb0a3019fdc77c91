/** GPT-2's byte-pair encoding (r50k_base), from the package that carries its vocabulary. */
import type { EncodeOptions, Tokenizer } from "../tokenizer.js";
import { VocabularyDecoder } from "./vocabulary.js";

const endOfText = "<|endoftext|>";
export const gpt2EndOfText = 50256;

/** Loaded when first wanted: the vocabulary is half a megabyte of code. Ids from 50257 on are padding, and no text. */
export async function gpt2Tokenizer(): Promise<Tokenizer> {
  const [encoding, { default: ranks }] = await Promise.all([
    import("gpt-tokenizer/encoding/r50k_base"),
    import("gpt-tokenizer/bpeRanks/r50k_base"),
  ]);
  const bytes = (id: number): Uint8Array | undefined => {
    const token = id === gpt2EndOfText ? endOfText : ranks[id];
    return typeof token === "string" ? Buffer.from(token, "utf8") : token && Uint8Array.from(token);
  };
  const decoder = new VocabularyDecoder({ bytes, isSpecial: (id) => id === gpt2EndOfText, leadingSpaces: 0 });
  const encodePlain = (text: string) => encoding.encode(text, { disallowedSpecial: new Set() });
  return {
    vocabSize: gpt2EndOfText + 1,
    eosTokenIds: [gpt2EndOfText],
    bosTokenId: gpt2EndOfText,
    // gpt-tokenizer 4.0 finds special tokens only where it happens to look (a sticky regular expression).
    encode: (text, { parseSpecialTokens = false }: EncodeOptions = {}) =>
      parseSpecialTokens
        ? text
            .split(endOfText)
            .flatMap((part, i) => [...(i > 0 ? [gpt2EndOfText] : []), ...encodePlain(part)])
        : encodePlain(text),
    decode: (ids, options) => decoder.decode(ids, options),
    stream: (options) => decoder.stream(options),
    tokenBytes: (id) => decoder.bytesOf(id, false),
    tokenText: (id) => decoder.tokenText(id),
  };
}
