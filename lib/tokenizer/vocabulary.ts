/**
 * Ids to text over a table of the bytes each id stands for. Text is the concatenation of bytes, so a stream needs no
 * look back: its cost is that of the new token, however long the text already is.
 */
import { ArgumentError } from "../errors.js";
import type { DecodeOptions, StreamDecoder, StreamOptions } from "../tokenizer.js";
import { decodeUtf8, Utf8Stream } from "./utf8-stream.js";

export interface Vocabulary {
  /** The bytes of an id; undefined for ids that stand for nothing (padding of the vocabulary). */
  bytes(id: number): Uint8Array | undefined;
  /** Special tokens (end of text, …) are no part of the text unless asked for. */
  isSpecial(id: number): boolean;
  /** How many spaces at the beginning of a text are the encoder's, not the text's (SentencePiece puts one there). */
  leadingSpaces: number;
}

const none = new Uint8Array();

export class VocabularyDecoder {
  constructor(private readonly vocabulary: Vocabulary) {}

  bytesOf(id: number, skipSpecialTokens: boolean): Uint8Array {
    if (!Number.isInteger(id) || id < 0) {
      throw new ArgumentError(
        "ERR_TOKEN_RANGE",
        `a token id must be an integer that is not negative, got ${id}`,
      );
    }
    if (skipSpecialTokens && this.vocabulary.isSpecial(id)) return none;
    return this.vocabulary.bytes(id) ?? none;
  }

  decode(ids: readonly number[], { skipSpecialTokens = true }: DecodeOptions = {}): string {
    const text = decodeUtf8(Buffer.concat(Array.from(ids, (id) => this.bytesOf(id, skipSpecialTokens))));
    return new LeadingSpaces(this.vocabulary.leadingSpaces).strip(text);
  }

  tokenText(id: number): string {
    return decodeUtf8(this.bytesOf(id, false));
  }

  stream({ skipSpecialTokens = true, after = [] }: StreamOptions = {}): StreamDecoder {
    const characters = new Utf8Stream();
    const begins = after.every((id) => this.bytesOf(id, skipSpecialTokens).length === 0);
    const spaces = new LeadingSpaces(begins ? this.vocabulary.leadingSpaces : 0);
    // The text so far may end within a character, of at most four tokens.
    for (const id of after.slice(-4)) characters.push(this.bytesOf(id, skipSpecialTokens));
    return {
      push: (id) => spaces.strip(characters.push(this.bytesOf(id, skipSpecialTokens))),
      flush: () => spaces.strip(characters.flush()),
    };
  }
}

/** Takes up to a number of spaces from the beginning of a text that comes in parts. */
class LeadingSpaces {
  constructor(private left: number) {}

  strip(text: string): string {
    let begin = 0;
    while (this.left > 0 && begin < text.length) {
      this.left = text[begin] === " " ? this.left - 1 : 0;
      if (text[begin] === " ") begin++;
    }
    return text.slice(begin);
  }
}
