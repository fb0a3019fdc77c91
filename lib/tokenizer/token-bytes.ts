/**
 * The bytes that one token of a tokenizer.json stands for, from its `decoder`: byte-level BPE, and SentencePiece's ways
 * (▁ for a space, <0xE2> for a byte). Decoders that look at more than one token have no such bytes, and are refused.
 */
import { CheckpointError } from "../errors.js";

export interface TokenBytes {
  bytes(token: string): Uint8Array;
  /** Spaces to take from the beginning of a text. */
  leadingSpaces: number;
}

interface DecoderJson {
  type?: string;
  decoders?: DecoderJson[];
  pattern?: { String?: string };
  content?: string;
  start?: number;
  stop?: number;
  replacement?: string;
  prepend_scheme?: string;
  add_prefix_space?: boolean;
}

/** @throws CheckpointError ERR_CONFIG for a decoder that cannot stream */
export function tokenBytes(decoder: unknown, where: string): TokenBytes {
  const steps = flatten((decoder ?? { type: "none" }) as DecoderJson);
  const text: ((token: string) => string)[] = [];
  let toBytes = (token: string): Uint8Array => Buffer.from(token, "utf8");
  let leadingSpaces = 0;
  for (const step of steps) {
    const refuse = (): never => {
      throw new CheckpointError(
        "ERR_CONFIG",
        `${where}: the decoder ${JSON.stringify(step)} is not supported`,
      );
    };
    const { type, content = "", replacement = "▁" } = step;
    if (type === "ByteLevel") toBytes = byteLevelBytes;
    else if (type === "ByteFallback") toBytes = byteFallback;
    else if (type === "Fuse") continue;
    else if (type === "Replace") {
      const pattern = step.pattern?.String ?? refuse();
      text.push((token) => token.replaceAll(pattern, () => content));
    } else if (type === "Metaspace") {
      text.push((token) => token.replaceAll(replacement, " "));
      if (step.prepend_scheme !== "never" && step.add_prefix_space !== false) leadingSpaces = 1;
    } else if (type === "Strip" && content === " " && !step.stop) {
      leadingSpaces = step.start ?? 0;
    } else if (type === "none") {
      // Without a decoder tokens are words.
      text.push((token) => ` ${token}`);
      leadingSpaces = 1;
    } else refuse();
  }
  return { bytes: (token) => toBytes(text.reduce((t, step) => step(t), token)), leadingSpaces };
}

function flatten(decoder: DecoderJson): DecoderJson[] {
  return decoder.type === "Sequence" ? (decoder.decoders ?? []).flatMap(flatten) : [decoder];
}

function byteFallback(token: string): Uint8Array {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : Buffer.from(token, "utf8");
}

/** GPT-2's printable stand-ins: the printable bytes of Latin-1 are themselves, the others come from U+0100 on. */
const byteOfCharacter = new Map<string, number>();
for (let byte = 0, next = 0x100; byte < 256; byte++) {
  const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  byteOfCharacter.set(String.fromCodePoint(printable ? byte : next++), byte);
}

function byteLevelBytes(token: string): Uint8Array {
  const bytes = [...token].map((character) => byteOfCharacter.get(character));
  // A token that is not made of stand-ins was added as plain text.
  return bytes.includes(undefined) ? Buffer.from(token, "utf8") : Uint8Array.from(bytes as number[]);
}
