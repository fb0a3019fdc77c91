/** A Hugging Face tokenizer.json: encoding through @huggingface/tokenizers, decoding over each token's bytes. */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { readJsonObject } from "../checkpoint/file-reader.js";
import { ArgumentError, CheckpointError } from "../errors.js";
import type { Tokenizer } from "../tokenizer.js";
import { specialIdsOf } from "./special-tokens.js";
import { tokenBytes } from "./token-bytes.js";
import { VocabularyDecoder } from "./vocabulary.js";

/** @throws CheckpointError ERR_CONFIG for a tokenizer that is damaged or of a kind not supported; RuntimeError ERR_IO */
export async function fileTokenizer(file: string, configFile?: string): Promise<Tokenizer> {
  const json = await readJsonObject(file);
  const config = configFile ? await readJsonObject(configFile) : {};
  const library = create(json, config, file);
  const special = new Set<number>();
  const added = new Map<number, string>();
  for (const { id, content, special: isSpecial } of library.get_added_tokens_decoder().values()) {
    added.set(id, content);
    if (isSpecial) special.add(id);
  }
  const { bytes: bytesOfToken, leadingSpaces } = tokenBytes(json.decoder, file);
  const table = new Map<number, Uint8Array | undefined>();
  const bytes = (id: number): Uint8Array | undefined => {
    if (table.has(id)) return table.get(id);
    const plain = added.get(id);
    const token = library.id_to_token(id);
    // Added tokens are text as it stands.
    const found =
      plain !== undefined
        ? Buffer.from(plain, "utf8")
        : token === undefined
          ? undefined
          : bytesOfToken(token);
    if (found) table.set(id, found);
    return found;
  };
  const decoder = new VocabularyDecoder({ bytes, isSpecial: (id) => special.has(id), leadingSpaces });
  const { eos, bos } = specialIdsOf(json, config);
  return {
    vocabSize: library.get_vocab().size,
    eosTokenIds: eos,
    ...(bos !== undefined && { bosTokenId: bos }),
    encode(text, { addSpecialTokens = true } = {}) {
      const { ids } = library.encode(text, { add_special_tokens: addSpecialTokens });
      if (!ids.every(Number.isInteger)) {
        throw new ArgumentError(
          "ERR_TOKEN_RANGE",
          "the text has characters that the tokenizer's vocabulary lacks",
        );
      }
      return ids;
    },
    decode: (ids, options) => decoder.decode(ids, options),
    stream: (options) => decoder.stream(options),
    tokenBytes: (id) => decoder.bytesOf(id, false),
    tokenText: (id) => decoder.tokenText(id),
  };
}

function create(
  json: Record<string, unknown>,
  config: Record<string, unknown>,
  file: string,
): HuggingFaceTokenizer {
  try {
    return new HuggingFaceTokenizer({ added_tokens: [], ...json }, config);
  } catch (error) {
    throw new CheckpointError(
      "ERR_CONFIG",
      `${file}: not a tokenizer this reads: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}
