/** Text to token ids and back; the way back also one token at a time. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { TokenizerSource } from "./checkpoint/checkpoint-index.js";
import { readJsonObject } from "./checkpoint/file-reader.js";
import { ArgumentError } from "./errors.js";
import { byteTokenizer } from "./tokenizer/bytes.js";
import { gpt2Tokenizer } from "./tokenizer/gpt2.js";
import { fileTokenizer } from "./tokenizer/huggingface.js";

/** Options of `encode()`. */
export interface EncodeOptions {
  /** Put the tokens that begin a text (and what else the tokenizer's post-processor adds) around it. Default true. */
  addSpecialTokens?: boolean;
  /**
   * Read `<|endoftext|>` in the text as that token. Default false: text of users cannot end a text. A tokenizer.json
   * decides this itself (its library always reads special tokens).
   */
  parseSpecialTokens?: boolean;
}

/** Options of `decode()`. */
export interface DecodeOptions {
  /** Leave out tokens that are not text, such as the end of it. Default true. */
  skipSpecialTokens?: boolean;
}

/** Options of `stream()`. */
export interface StreamOptions extends DecodeOptions {
  /**
   * Ids that the stream continues, normally the prompt's. Without them the stream begins a text, and a SentencePiece
   * tokenizer's space before the first word is dropped.
   */
  after?: readonly number[] | Int32Array;
}

/** Text as tokens arrive. Never part of a character; constant cost per token. */
export interface StreamDecoder {
  /** The text that is certain with this token; "" while a character is incomplete. */
  push(id: number): string;
  /** What is left at the end: U+FFFD for a character that was never completed, or "". */
  flush(): string;
}

/** Text to token ids and back. */
export interface Tokenizer {
  /** Ids run from 0 to below this; the model's vocabulary may be padded beyond, with ids that are no text. */
  readonly vocabSize: number;
  /** Tokens that end a text, where the tokenizer knows. */
  readonly eosTokenIds?: readonly number[];
  readonly bosTokenId?: number;
  /** @throws ArgumentError ERR_TOKEN_RANGE for text that the vocabulary cannot express */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * Bytes that are not UTF-8 become U+FFFD; ids beyond the vocabulary are no text.
   * @throws ArgumentError ERR_TOKEN_RANGE for an id that is no integer ≥ 0
   */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The concatenation of all it gives is `decode` of all its ids. */
  stream(options?: StreamOptions): StreamDecoder;
  /** The bytes of one token, also of a special one; empty beyond the vocabulary. */
  tokenBytes(id: number): Uint8Array;
  /** One token to look at: its bytes as text, also of a special one. */
  tokenText(id: number): string;
}

/**
 * Loads a tokenizer.
 * @param source what a CheckpointIndex names, or a directory (of an engine or a checkpoint) with a tokenizer
 * @throws CheckpointError ERR_CONFIG for a tokenizer.json that is damaged or of a kind not supported; RuntimeError
 *   ERR_IO; ArgumentError ERR_NO_TOKENIZER for a directory without one
 */
export async function loadTokenizer(source: TokenizerSource | string): Promise<Tokenizer> {
  const { kind, ...files } = typeof source === "string" ? await tokenizerOfDirectory(source) : source;
  if (kind === "gpt2") return gpt2Tokenizer();
  if (kind === "bytes") return byteTokenizer();
  const { file, configFile } = files as { file: string; configFile?: string };
  return fileTokenizer(file, configFile);
}

async function tokenizerOfDirectory(directory: string): Promise<TokenizerSource> {
  const beside = (name: string) => {
    const file = join(directory, name);
    return existsSync(file) && statSync(file).isFile() ? file : undefined;
  };
  const file = beside("tokenizer.json");
  const configFile = beside("tokenizer_config.json");
  if (file) return { kind: "file", file, ...(configFile && { configFile }) };
  const manifest = beside("config.json");
  const named = manifest
    ? ((await readJsonObject(manifest)).tokenizer as Partial<TokenizerSource> | null)
    : null;
  if (named?.kind === "gpt2" || named?.kind === "bytes") return { kind: named.kind };
  throw new ArgumentError("ERR_NO_TOKENIZER", `${directory} has no tokenizer: expected a tokenizer.json`);
}
