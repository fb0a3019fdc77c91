import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type PickleHost, unpickle } from "../../lib/checkpoint/pickle.js";
import { torchHost } from "../../lib/checkpoint/torch-globals.js";
import { krakenArgs, torchTensor } from "../helpers/checkpoints.js";
import { Call, Global, pickle, Tuple } from "../helpers/pickle-writer.js";

const host = torchHost("test.pt");
const read = (bytes: Buffer, limits?: { stack: number; objects: number }) =>
  unpickle(bytes, host, "test.pt", limits);
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("pickle", () => {
  test("plain values of protocols 2 and 4 come back", () => {
    const value = { a: [1, -2, 300, 70000, 0.5, true, false, null], ключ: "значение", big: 2n ** 62n };
    for (const protocol of [2, 4]) {
      const found = read(pickle(value, { protocol })) as Map<string, unknown>;
      assert.deepEqual(Object.fromEntries(found), value);
    }
    assert.equal(read(hex("80028a05 ffffffffff 2e")), -1);
    assert.equal(read(hex("80028a00 2e")), 0);
  });

  test("memo, sets and shared values", () => {
    // [] memoised as 5, appended to itself: cycles are no danger, as nothing walks them.
    const cycle = read(hex("8002 5d 7105 6805 61 2e")) as unknown[];
    assert.equal(cycle[0], cycle);
    assert.deepEqual(read(hex("8004 8f 28 4b01 4b02 90 94 2e")), [1, 2]);
  });

  test("an OrderedDict of pairs, and one with attributes", () => {
    const ordered = new Global("collections", "OrderedDict");
    const pairs = new Call(
      ordered,
      new Tuple([
        ["a", 1],
        ["b", 2],
      ]),
      { _metadata: {} },
    );
    assert.deepEqual(
      read(pickle(pairs)),
      new Map([
        ["a", 1],
        ["b", 2],
      ]),
    );
  });

  test("damaged ones end in ERR_CHECKPOINT_FORMAT", () => {
    for (const [bytes, message] of [
      ["8002", /ends in the middle/],
      ["8002 58 ffffffff 61 2e", /ends in the middle/],
      ["8004 8d ffffffffffffffff 61 2e", /ends in the middle/],
      ["8002 2e", /more from its stack/],
      ["8002 61 2e", /stack/],
      ["8002 74 2e", /mark/],
      ["8002 4b01 4b02 61 2e", /no list/],
      ["8002 4b01 4b02 4b03 73 2e", /no dict/],
      ["8002 87 2e", /tuple/],
      ["8002 6809 2e", /refers to value 9/],
      ["8002 8b ffffff7f 2e", /integer of/],
      ["8002 ff 2e", /opcode 0xff at byte 2/],
      ["8009 2e", /protocol 9/],
      ["8002 63 6162", /line without end/],
      ["8002 4b01 4b02 93 2e", /global without a name/],
      ["8002 4b01 4b02 52 2e", /no tuple/],
      ["8002 4b01 51 2e", /storage reference/],
    ] as const) {
      assert.throws(() => read(hex(bytes)), { code: "ERR_CHECKPOINT_FORMAT", message });
    }
  });

  test("growth is bounded", () => {
    const limits = { stack: 1000, objects: 1000 };
    const many = (opcode: string) => hex(`8002${opcode.repeat(2000)}2e`);
    assert.throws(() => read(many("4e"), limits), { message: /stack/ }); // None, None, …
    assert.throws(() => read(many("28"), limits), { message: /stack/ }); // marks
    assert.throws(() => read(hex(`80025d${"5d61".repeat(2000)}2e`), limits), { message: /objects/ }); // [[], [], …
    assert.throws(
      () =>
        read(
          hex(
            `80024e${Array.from({ length: 2000 }, (_, i) => `72${(i + 65536).toString(16).padStart(8, "0")}`).join("")}2e`,
          ),
          limits,
        ),
      { message: /objects/ },
    ); // memo
  });

  test("any bytes give a value or a coded error", () => {
    const valid = pickle({ model: { w: torchTensor("0", { shape: [2, 3] }) }, model_args: krakenArgs });
    const mutated = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(mutated, (changes) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at] = value;
        coded(bytes);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) =>
        coded(Buffer.concat([hex("8002"), bytes, hex("2e")])),
      ),
      { numRuns: 3000 },
    );
  });

  test("asks its host, and nobody else", () => {
    const asked: string[] = [];
    const recorder: PickleHost = {
      global: (name) => asked.push(name),
      call: (callable, args) => asked.push(`${callable}(${args})`),
      persistent: () => null,
    };
    unpickle(pickle(new Call(new Global("os", "system"), new Tuple("true"))), recorder, "test.pt");
    assert.deepEqual(asked, ["os.system", "1(true)"]);
  });
});

function coded(bytes: Buffer): void {
  try {
    read(bytes);
  } catch (error) {
    assert.match(
      (error as { code?: string }).code ?? `${error}`,
      /^ERR_CHECKPOINT_(FORMAT|UNSAFE)$/,
      `${(error as Error).stack}`,
    );
  }
}
