/** Small tokenizer.json files of the two kinds that language models have. */

/** Byte-level BPE (GPT-2, Llama 3): 256 stand-ins for bytes, a few merges. */
export function byteLevelTokenizer() {
  const standIns = Array.from({ length: 256 }, (_, byte) => standIn(byte));
  const merges = [
    ["t", "h"],
    ["th", "e"],
    ["Ġ", "the"],
    ["Ð", "°"], // а
    ["â", "Ĥ"], // the first two bytes of €
  ];
  const tokens = [...standIns, ...merges.map((pair) => pair.join("")), "<|endoftext|>"];
  return {
    version: "1.0",
    added_tokens: [specialToken("<|endoftext|>", tokens.length - 1)],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
}

function specialToken(content: string, id: number) {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

/** GPT-2's printable character for a byte. */
function standIn(byte: number): string {
  const printable = (b: number) => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b !== 0xad);
  if (printable(byte)) return String.fromCodePoint(byte);
  return String.fromCodePoint(
    0x100 + Array.from({ length: byte }, (_, b) => b).filter((b) => !printable(b)).length,
  );
}

/** SentencePiece BPE with byte fallback (Llama 2): ▁ for a space, one of them before the text, <s> before that. */
export function sentencePieceTokenizer() {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const letters = ["▁", ..."abcdefghijklmnopqrstuvwxyz.é"];
  const merges = [
    ["t", "h"],
    ["th", "e"],
    ["▁", "the"],
    ["▁", "a"],
    ["▁", "▁"],
  ];
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...letters, ...merges.map((pair) => pair.join(""))];
  return {
    version: "1.0",
    added_tokens: tokens.slice(0, 3).map(specialToken),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}
