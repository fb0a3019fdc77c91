/** GPT-2's byte-pair encoding (r50k_base), from the package that carries its vocabulary. */
import type { EncodeOptions, Tokenizer } from "../tokenizer.js";
import { TextDecoderOf } from "./vocabulary.js";

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
  const decoder = new TextDecoderOf({ bytes, isSpecial: (id) => id === gpt2EndOfText, leadingSpaces: 0 });
  const special = { allowedSpecial: new Set([endOfText]) };
  const plain = { disallowedSpecial: new Set<string>() };
  return {
    vocabSize: gpt2EndOfText + 1,
    eosTokenIds: [gpt2EndOfText],
    bosTokenId: gpt2EndOfText,
    encode: (text, { parseSpecialTokens = false }: EncodeOptions = {}) =>
      encoding.encode(text, parseSpecialTokens ? special : plain),
    decode: (ids, options) => decoder.decode(ids, options),
    stream: (options) => decoder.stream(options),
    tokenBytes: (id) => decoder.bytesOf(id, false),
    tokenText: (id) => decoder.tokenText(id),
  };
}
