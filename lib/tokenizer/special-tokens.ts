/** Which tokens begin and end a text, where a model's config.json does not say so. */
import type { TokenizerSource } from "../checkpoint/checkpoint-index.js";
import { readJsonObject } from "../checkpoint/file-reader.js";
import { gpt2EndOfText } from "./gpt2.js";

export interface SpecialIds {
  eos: number[];
  bos?: number;
}

interface AddedToken {
  id?: unknown;
  content?: unknown;
  special?: unknown;
}

/** Names that end a text in tokenizers without a tokenizer_config.json. */
const endNames = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]"];
const beginNames = ["<|begin_of_text|>", "<s>", "<bos>", "[BOS]"];

/** @throws CheckpointError ERR_CONFIG, RuntimeError ERR_IO when its files cannot be read */
export async function tokenizerSpecialIds(source: TokenizerSource | undefined): Promise<SpecialIds> {
  if (source?.kind === "gpt2") return { eos: [gpt2EndOfText], bos: gpt2EndOfText };
  if (source?.kind !== "file") return { eos: [] };
  const config = source.configFile ? await readJsonObject(source.configFile) : {};
  return specialIdsOf(await readJsonObject(source.file), config);
}

/** From the contents of tokenizer.json and tokenizer_config.json. */
export function specialIdsOf(
  tokenizer: Record<string, unknown>,
  config: Record<string, unknown>,
): SpecialIds {
  const added = (Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []) as AddedToken[];
  const idOf = (name: string) => added.find((token) => token.content === name && token.special === true)?.id;
  const find = (key: string, names: readonly string[]): number | undefined => {
    const named = config[key] as string | { content?: string } | null | undefined;
    const name = typeof named === "object" ? named?.content : named;
    return [name, ...names]
      .map((candidate) => (candidate === undefined ? undefined : idOf(candidate)))
      .find((id): id is number => Number.isSafeInteger(id));
  };
  const eos = find("eos_token", endNames);
  const bos = find("bos_token", beginNames);
  return { eos: eos === undefined ? [] : [eos], ...(bos !== undefined && { bos }) };
}
