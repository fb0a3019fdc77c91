import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { decodeUtf8, Utf8Stream } from "../../lib/tokenizer/utf8-stream.js";
import { loadTokenizer, type Tokenizer } from "../../lib/tokenizer.js";
import { temporaryDirectory } from "../helpers/checkpoints.js";
import { byteLevelTokenizer, sentencePieceTokenizer } from "../helpers/tokenizers.js";

const directory = temporaryDirectory();
const fromJson = (json: object, config?: object): Promise<Tokenizer> => {
  const file = directory.write("tokenizer.json", json);
  if (!config) return loadTokenizer({ kind: "file", file });
  return loadTokenizer({ kind: "file", file, configFile: directory.write("tokenizer_config.json", config) });
};
const streamed = (tokenizer: Tokenizer, ids: readonly number[], skipSpecialTokens = true) => {
  const stream = tokenizer.stream({ skipSpecialTokens });
  return ids.map((id) => stream.push(id)).join("") + stream.flush();
};

const tokenizers: Record<string, Tokenizer> = {
  bytes: await loadTokenizer({ kind: "bytes" }),
  gpt2: await loadTokenizer({ kind: "gpt2" }),
  "byte-level tokenizer.json": await fromJson(byteLevelTokenizer()),
  "SentencePiece tokenizer.json": await fromJson(sentencePieceTokenizer()),
};

for (const [name, tokenizer] of Object.entries(tokenizers)) {
  describe(name, () => {
    test("any text survives, whole and streamed", () => {
      fc.assert(
        fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
          const ids = tokenizer.encode(text, { addSpecialTokens: false });
          // A tokenizer.json reads its special tokens, and SentencePiece spells a space ▁.
          fc.pre(!/[▁<]/.test(text) || name === "bytes" || name === "gpt2");
          assert.equal(tokenizer.decode(ids), text);
          assert.equal(streamed(tokenizer, ids), text);
        }),
        { numRuns: 300 },
      );
    });

    test("any ids: the stream's parts are the text, and end with whole characters", () => {
      const id = fc.nat(tokenizer.vocabSize + 40);
      fc.assert(
        fc.property(fc.array(id, { maxLength: 40 }), fc.boolean(), (ids, skipSpecialTokens) => {
          const text = tokenizer.decode(ids, { skipSpecialTokens });
          assert.equal(streamed(tokenizer, ids, skipSpecialTokens), text);
          const bytes = Buffer.concat(ids.map((i) => tokenizer.tokenBytes(i)));
          if (!skipSpecialTokens) assert.ok(decodeUtf8(bytes).endsWith(text));
        }),
        { numRuns: 300 },
      );
    });

    test("lone surrogates become U+FFFD", () => {
      const ids = tokenizer.encode("a\ud800b", { addSpecialTokens: false });
      assert.equal(tokenizer.decode(ids), "a\ufffdb");
    });

    test("a character comes out with its last byte, never before", () => {
      const ids = tokenizer.encode("a😀b", { addSpecialTokens: false });
      const stream = tokenizer.stream();
      let text = "";
      for (const part of ids.map((id) => stream.push(id))) {
        assert.ok(!part.includes("\ufffd"));
        text += part;
      }
      assert.equal(text + stream.flush(), "a😀b");
    });

    test("an incomplete character becomes U+FFFD at the end", () => {
      const ids = tokenizer.encode("😀", { addSpecialTokens: false });
      assert.equal(streamed(tokenizer, ids.slice(0, -1)), "\ufffd");
    });

    test("ids beyond the vocabulary are no text; those that are no ids an error", () => {
      assert.equal(tokenizer.decode([tokenizer.vocabSize, tokenizer.vocabSize + 1000]), "");
      for (const id of [-1, 0.5, Number.NaN]) {
        assert.throws(() => tokenizer.decode([id]), { code: "ERR_TOKEN_RANGE" });
        assert.throws(() => tokenizer.stream().push(id), { code: "ERR_TOKEN_RANGE" });
      }
    });

    test("empty text has no tokens but the beginning", () => {
      assert.deepEqual(tokenizer.encode("", { addSpecialTokens: false }), []);
      assert.equal(tokenizer.decode([]), "");
    });
  });
}

test("a stream costs the same per token however long the text is", () => {
  const tokenizer = tokenizers.bytes!;
  const time = (tokens: number) => {
    const stream = tokenizer.stream();
    const begin = performance.now();
    for (let i = 0; i < tokens; i++) stream.push(97);
    return performance.now() - begin;
  };
  time(20_000);
  const [short, long] = [time(20_000), time(200_000)];
  assert.ok(long < 10 * short * 4 + 50, `20,000 tokens: ${short} ms; 200,000: ${long} ms`);
});

describe("GPT-2", () => {
  const tokenizer = tokenizers.gpt2!;
  test("has its known ids", () => {
    assert.deepEqual(tokenizer.encode("Hello world"), [15496, 995]);
    assert.equal(tokenizer.vocabSize, 50257);
    assert.deepEqual([tokenizer.eosTokenIds, tokenizer.bosTokenId], [[50256], 50256]);
  });
  test("reads <|endoftext|> as a token only when asked", () => {
    assert.equal(tokenizer.encode("a<|endoftext|>").includes(50256), false);
    const parsed = tokenizer.encode("a<|endoftext|><|endoftext|>b", { parseSpecialTokens: true });
    assert.deepEqual(parsed, [64, 50256, 50256, 65]);
  });
  test("shows it only when asked", () => {
    assert.equal(tokenizer.decode([64, 50256]), "a");
    assert.equal(tokenizer.decode([64, 50256], { skipSpecialTokens: false }), "a<|endoftext|>");
    assert.equal(tokenizer.tokenText(50256), "<|endoftext|>");
  });
  test("a byte of a character is shown as U+FFFD, and its bytes are given", () => {
    const [first] = tokenizer.encode("😀");
    assert.equal(tokenizer.tokenText(first!), "\ufffd");
    assert.deepEqual([...tokenizer.tokenBytes(first!)], [0xf0, 0x9f, 0x98]);
  });
});

describe("tokenizer.json", () => {
  test("byte-level: merges, special tokens, the end of a text", () => {
    const tokenizer = tokenizers["byte-level tokenizer.json"]!;
    assert.deepEqual(
      tokenizer.encode("the the"),
      [257, 258].map((id) => id),
    ); // the, Ġthe
    assert.deepEqual([tokenizer.vocabSize, tokenizer.eosTokenIds], [262, [261]]);
    assert.equal(tokenizer.decode([257, 261, 258]), "the the");
    assert.equal(tokenizer.tokenText(261), "<|endoftext|>");
  });

  test("SentencePiece: the beginning is marked, and a text's first space is the encoder's", () => {
    const tokenizer = tokenizers["SentencePiece tokenizer.json"]!;
    const the = tokenizer.encode("the")[1]!;
    assert.deepEqual(tokenizer.encode("the the"), [1, the, the]);
    assert.equal(tokenizer.decode([1, the, the]), "the the");
    assert.equal(streamed(tokenizer, [1, the, the]), "the the");
    assert.equal(tokenizer.tokenText(the), " the");
    assert.deepEqual([tokenizer.eosTokenIds, tokenizer.bosTokenId], [[2], 1]);
  });

  test("SentencePiece: a continuation keeps its first space", () => {
    const tokenizer = tokenizers["SentencePiece tokenizer.json"]!;
    const prompt = tokenizer.encode("the");
    const stream = tokenizer.stream({ after: prompt });
    assert.equal(stream.push(prompt.at(-1)!), " the");
    assert.equal(
      tokenizer.stream({ after: [1] }).push(prompt.at(-1)!),
      "the",
      "after <s> alone a text begins",
    );
  });

  test("a continuation completes a character that the prompt's ids began", () => {
    const tokenizer = tokenizers.bytes!;
    const stream = tokenizer.stream({ after: Int32Array.of(97, 0xe2, 0x82) });
    assert.equal(stream.push(0xac), "€");
  });

  test("tokenizer_config.json names the end of a text", async () => {
    const json = sentencePieceTokenizer();
    assert.deepEqual((await fromJson(json, { eos_token: "<unk>" })).eosTokenIds, [0]);
    assert.deepEqual(
      (await fromJson(json, { eos_token: { content: "<s>" }, bos_token: null })).eosTokenIds,
      [1],
    );
  });

  test("Metaspace decoders", async () => {
    const json = sentencePieceTokenizer();
    const the = (await fromJson(json)).encode("the")[1]!;
    const metaspace = (decoder: object) => fromJson({ ...json, decoder: { type: "Metaspace", ...decoder } });
    assert.equal(
      (await metaspace({ replacement: "▁", prepend_scheme: "always" })).decode([the, the]),
      "the the",
    );
    assert.equal(
      (await metaspace({ replacement: "▁", prepend_scheme: "never" })).decode([the, the]),
      " the the",
    );
  });

  test("of a kind that cannot stream, or damaged", async () => {
    const json = byteLevelTokenizer();
    for (const decoder of [
      { type: "WordPiece", prefix: "##" },
      { type: "CTC" },
      { type: "Replace", pattern: { Regex: "a" }, content: "" },
      { type: "Strip", content: " ", start: 0, stop: 1 },
    ]) {
      await assert.rejects(fromJson({ ...json, decoder }), { code: "ERR_CONFIG", message: /decoder/ });
    }
    await assert.rejects(fromJson({ hello: 1 }), { code: "ERR_CONFIG", message: /not a tokenizer/ });
    await assert.rejects(fromJson({ ...json, model: { type: "Magic" } }), { code: "ERR_CONFIG" });
    const file = directory.write("broken.json", "{");
    await assert.rejects(loadTokenizer({ kind: "file", file }), {
      code: "ERR_CONFIG",
      message: /not valid JSON/,
    });
    await assert.rejects(loadTokenizer({ kind: "file", file: `${file}.absent` }), { code: "ERR_IO" });
  });
});

describe("loadTokenizer of a directory", () => {
  test("finds tokenizer.json, or what the engine's config.json names", async () => {
    const here = temporaryDirectory();
    await assert.rejects(loadTokenizer(here.path), { code: "ERR_NO_TOKENIZER" });
    here.write("config.json", { tokenizer: null });
    await assert.rejects(loadTokenizer(here.path), { code: "ERR_NO_TOKENIZER" });
    here.write("config.json", { tokenizer: { kind: "bytes" } });
    assert.equal((await loadTokenizer(here.path)).vocabSize, 256);
    here.write("config.json", { tokenizer: { kind: "gpt2" } });
    assert.equal((await loadTokenizer(here.path)).vocabSize, 50257);
    here.write("tokenizer.json", byteLevelTokenizer());
    here.write("tokenizer_config.json", {});
    assert.equal((await loadTokenizer(here.path)).vocabSize, 262);
  });
});

test("Utf8Stream gives what decoding at once gives, for any bytes cut anywhere", () => {
  const lead = fc.constantFrom(
    0x41,
    0x80,
    0xbf,
    0xc1,
    0xc2,
    0xe0,
    0xed,
    0xa0,
    0xef,
    0xf0,
    0x90,
    0xf4,
    0xf5,
    0xff,
  );
  const bytes = fc.array(fc.oneof(lead, fc.nat(255)), { maxLength: 20 });
  fc.assert(
    fc.property(
      bytes,
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 20, maxLength: 20 }),
      (all, cuts) => {
        const stream = new Utf8Stream();
        let text = "";
        for (let at = 0, i = 0; at < all.length; at += cuts[i]!, i++) {
          text += stream.push(Uint8Array.from(all.slice(at, at + cuts[i]!)));
        }
        assert.equal(text + stream.flush(), decodeUtf8(Uint8Array.from(all)));
      },
    ),
    { numRuns: 5000 },
  );
});
