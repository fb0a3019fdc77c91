import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ArgumentError,
  CheckpointError,
  EngineDirectoryError,
  errorFromCode,
  fromNative,
  KrakenError,
  RuntimeError,
} from "../../lib/errors.js";

test("a code becomes the class that says what the user can do", () => {
  const cases = [
    ["ERR_CONFIG", CheckpointError],
    ["ERR_RANKS", ArgumentError],
    ["ERR_ENGINE_CORRUPT", EngineDirectoryError],
    ["ERR_OUT_OF_MEMORY", RuntimeError],
  ] as const;
  for (const [code, expected] of cases) {
    const error = errorFromCode(code, "why");
    assert.ok(error instanceof expected && error instanceof KrakenError && error instanceof Error);
    assert.equal(error.code, code);
    assert.equal(error.name, expected.name);
    assert.equal(error.message, "why");
  }
});

test("native errors keep code and message and name their cause", () => {
  const native = Object.assign(new Error("no room"), { code: "ERR_OUT_OF_KV_CACHE" });
  const error = fromNative(native);
  assert.ok(error instanceof RuntimeError);
  assert.equal(error.code, "ERR_OUT_OF_KV_CACHE");
  assert.equal(error.cause, native);
});

test("what is not native stays as it is", () => {
  const plain = new TypeError("oops");
  assert.equal(fromNative(plain), plain);
  assert.equal(fromNative("text"), "text");
  const ours = new ArgumentError("ERR_OPTION", "x");
  assert.equal(fromNative(ours), ours);
});
