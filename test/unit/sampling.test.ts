import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type GenerateOptions, resolveSampling, type SamplingContext } from "../../lib/sampling.js";
import { StopStrings } from "../../lib/stop-strings.js";

const context: SamplingContext = {
  vocabSize: 100,
  eosTokenIds: [99],
  promptTokens: 10,
  maxSequenceLength: 64,
};
const resolve = (options: unknown) => resolveSampling(options as GenerateOptions, context);

describe("sampling options", () => {
  test("defaults", () => {
    const { native, samples, stop, seed } = resolve({});
    const { seed: nativeSeed, ...rest } = native;
    assert.deepEqual(rest, {
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logitBias: [],
      maxTokens: 54, // what is left of the context
      minTokens: 0,
      stopTokens: [99],
      logprobs: -1,
    });
    assert.equal(samples, 1);
    assert.deepEqual(stop, []);
    assert.equal(BigInt(seed), nativeSeed);
    assert.ok(Number.isSafeInteger(seed));
  });

  test("random seeds differ", () => {
    assert.notEqual(resolve({}).seed, resolve({}).seed);
  });

  test("given values arrive", () => {
    const { native, stop, samples } = resolve({
      maxTokens: 5,
      minTokens: 2,
      temperature: 0.5,
      seed: 2n ** 64n - 4n,
      logitBias: { 3: -1.5, 4: Number.NEGATIVE_INFINITY },
      stop: "END",
      stopTokens: [1, 99, 1],
      logprobs: 3,
      n: 4,
    });
    assert.equal(native.seed, 2n ** 64n - 4n);
    assert.deepEqual(native.logitBias, [
      [3, -1.5],
      [4, Number.NEGATIVE_INFINITY],
    ]);
    assert.deepEqual(native.stopTokens, [1, 99]);
    assert.equal(native.logprobs, 3);
    assert.deepEqual(stop, ["END"]);
    assert.equal(samples, 4);
    assert.deepEqual(resolve({ logitBias: new Map([[7, 2]]) }).native.logitBias, [[7, 2]]);
    assert.deepEqual(resolve({ ignoreEos: true, stopTokens: [5] }).native.stopTokens, [5]);
    assert.equal(resolve({ logprobs: true }).native.logprobs, 0);
    assert.equal(resolve({ logprobs: false }).native.logprobs, -1);
  });

  const bad: [unknown, RegExp][] = [
    [{ temperature: -1 }, /`temperature` must be a number from 0 .*got -1/],
    [{ temperature: Number.NaN }, /`temperature`.*got NaN/],
    [{ temperature: "hot" }, /`temperature`.*got 'hot'/],
    [{ topK: -3 }, /`topK` must be an integer of at least 0, got -3/],
    [{ topK: 1.5 }, /`topK`.*got 1\.5/],
    [{ topP: 0 }, /`topP` must be a number above 0/],
    [{ topP: 1.1 }, /`topP`.*got 1\.1/],
    [{ minP: 2 }, /`minP`.*got 2/],
    [{ repetitionPenalty: 0 }, /`repetitionPenalty`.*got 0/],
    [{ presencePenalty: 3 }, /`presencePenalty`.*got 3/],
    [{ frequencyPenalty: -3 }, /`frequencyPenalty`.*got -3/],
    [{ maxTokens: 0 }, /`maxTokens`.*got 0/],
    [{ maxTokens: 4, minTokens: 5 }, /`minTokens` \(5\) exceeds `maxTokens` \(4\)/],
    [{ temperature: 0, n: 2 }, /greedy samples are all the same/],
    [{ n: 0 }, /`n` must be an integer from 1 to 128, got 0/],
    [{ seed: -1 }, /`seed`.*got -1/],
    [{ seed: 0.5 }, /`seed`.*got 0\.5/],
    [{ seed: 2n ** 64n }, /`seed`.*got 18446744073709551616n/],
    [{ seed: 2n ** 64n - 1n, n: 2 }, /`seed`/],
    [{ logprobs: 21 }, /`logprobs` must be an integer from 0 to 20/],
    [{ stop: "" }, /`stop` must be non-empty text/],
    [{ stop: ["a", ""] }, /`stop`/],
    [{ stop: 3 }, /`stop`.*got 3/],
    [{ stopTokens: [100] }, /`stopTokens` must be token ids from 0 to 99, got 100/],
    [{ logitBias: { 100: 1 } }, /`logitBias`.*got 100/],
    [{ logitBias: { x: 1 } }, /`logitBias`.*got NaN/],
    [{ logitBias: { 1: Number.POSITIVE_INFINITY } }, /`logitBias\[1\]`/],
    [{ logitBias: [[1, 2]] }, /`logitBias` must be an object or Map/],
    [
      { logitBias: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [i, Number.NEGATIVE_INFINITY])) },
      /forbids all 100 tokens/,
    ],
    [{ ignoreEos: 1 }, /`ignoreEos` must be true or false, got 1/],
    [{ signal: {} }, /`signal` must be an AbortSignal/],
    [{ maxtokens: 3 }, /unknown option `maxtokens`; did you mean `maxTokens`\?/],
    [{ top_p: 0.5 }, /did you mean `topP`\?/],
    [{ wibble: 1 }, /unknown option `wibble` \(known: maxTokens/],
    [null, /options must be an object, got null/],
  ];
  for (const [options, message] of bad) {
    test(`refuses ${JSON.stringify(options, (_, v) => (typeof v === "bigint" ? `${v}n` : v))?.slice(0, 60)}`, () => {
      assert.throws(() => resolve(options), { code: "ERR_OPTION", message });
    });
  }

  test("says how much of the context is left", () => {
    assert.throws(() => resolve({ maxTokens: 55 }), {
      code: "ERR_CONTEXT_LENGTH",
      message: /`maxTokens` is 55 after a prompt of 10 tokens.*64: at most 54 tokens can follow/,
    });
    assert.throws(() => resolveSampling({}, { ...context, promptTokens: 64 }), {
      code: "ERR_CONTEXT_LENGTH",
      message: /the prompt has 64 tokens/,
    });
  });
});

describe("stop strings", () => {
  /** Character by character, without holding anything back. */
  function expected(text: string, stops: string[]): { text: string; stop?: string } {
    for (let end = 1; end <= text.length; end++) {
      const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
      const longest = ending.sort((a, b) => b.length - a.length)[0];
      if (longest !== undefined) return { text: text.slice(0, end - longest.length), stop: longest };
    }
    return { text };
  }

  test("do not depend on how the text is cut", () => {
    const letters = fc.constantFrom("a", "b", "c", "é", "𝄞");
    const word = (minLength: number, maxLength: number) =>
      fc.array(letters, { minLength, maxLength }).map((all) => all.join(""));
    fc.assert(
      fc.property(
        fc.array(word(0, 4), { maxLength: 12 }),
        fc.array(word(1, 4), { maxLength: 3 }),
        (pieces, stops) => {
          const matcher = new StopStrings(stops);
          let text = "";
          let stop: string | undefined;
          for (const piece of pieces) {
            const pushed = matcher.push(piece);
            text += pushed.text;
            assert.ok(!stops.some((s) => text.includes(s)), "a stop string became visible");
            if (pushed.stop !== undefined) {
              stop = pushed.stop;
              break;
            }
          }
          if (stop === undefined) text += matcher.flush();
          assert.deepEqual(stop === undefined ? { text } : { text, stop }, expected(pieces.join(""), stops));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("hold back no more than a possible beginning", () => {
    const matcher = new StopStrings(["\n\nUser:"]);
    assert.deepEqual(matcher.push("Hello\n"), { text: "Hello" });
    assert.deepEqual(matcher.push("\nUs"), { text: "" });
    assert.deepEqual(matcher.push("e it"), { text: "\n\nUse it" });
    assert.deepEqual(matcher.push("."), { text: "." });
  });
});
