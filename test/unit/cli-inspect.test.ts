/** kraken inspect: checkpoints, presets and engines, with and without the addon. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { serializeManifest } from "../../lib/engine-directory.js";
import { CheckpointError, RuntimeError } from "../../lib/errors.js";
import type { KrakenConfig } from "../../lib/model-config.js";
import { kraken } from "./cli-harness.js";

const config: KrakenConfig = {
  architecture: "kraken",
  ways: 2,
  layers: 3,
  hiddenSize: 48,
  heads: 2,
  kvHeads: 2,
  headDim: 24,
  ffnSize: 96,
  vocabSize: 100,
  maxPositions: 64,
  norm: { kind: "layer", eps: 1e-5, bias: false },
  activation: "gelu_tanh",
  positions: { kind: "learned" },
  bias: { qkv: false, attnProj: false, mlp: false, head: false },
  tiedHead: true,
  conjunctionBias: false,
};
const limits = { maxStepTokens: 64, maxBatchSize: 8, maxSequenceLength: 64 };
const index = {
  description: "a checkpoint of a test",
  dtype: "float16",
  config,
  tensors: {},
  eosTokenIds: [],
};

function fakes(asked: Record<string, unknown>[] = []) {
  const plan = (options: { ranks: number }) => {
    asked.push(options);
    const rank = { weightBytes: 2048, kvBytesPerToken: 1024, ops: 12 };
    return { ranks: Array(options.ranks).fill(rank), validRanks: [1, 2], graph: "0 embed\n1 norm\n" };
  };
  return {
    checkpoint: async () => ({ openCheckpoint: async () => index }),
    presets: async () => ({ preset: (name: string) => ({ ...index, description: `preset ${name}` }) }),
    native: async () => ({ native: () => ({ plan }) }),
  };
}

test("a checkpoint", async () => {
  const asked: Record<string, unknown>[] = [];
  const { code, stdout } = await kraken(["inspect", "ckpt.pt", "--tp", "2"], { library: fakes(asked) });
  assert.equal(code, 0);
  assert.deepEqual(asked, [{ config, ranks: 2, dtype: "bfloat16", backend: "cpu", ...limits }]);
  // What a build for GPUs would make of a checkpoint in float16.
  await kraken(["inspect", "ckpt.pt", "--backend", "tensorrt"], { library: fakes(asked) });
  assert.equal(asked[1]!.dtype, "float16");
  assert.match(stdout, /^ckpt\.pt: checkpoint\n/);
  assert.match(stdout, /^ {2}model +Kraken, 2 ways, 3 layers, /m);
  assert.match(stdout, /^ {2}from +a checkpoint of a test$/m);
  assert.match(stdout, /^ {2}attention +2 heads of 24 in each way$/m);
  assert.match(
    stdout,
    /^ {2}rank 1 +2\.00 KiB of weights; key\/value cache 1\.00 KiB per token, 64\.0 KiB at full/m,
  );
  assert.match(stdout, /^ {2}split +each holds 1 way; /m);
  assert.match(stdout, /^ {2}ranks +1, 2 are possible$/m);
  assert.doesNotMatch(stdout, /embed/);
});

test("--graph lists the ops", async () => {
  const { stdout } = await kraken(["inspect", "ckpt.pt", "--graph"], { library: fakes() });
  assert.match(stdout, /\nrank 0\n0 embed\n1 norm\n$/);
});

test("--json", async () => {
  const { stdout } = await kraken(["inspect", "--random", "tiny", "--json", "--graph"], { library: fakes() });
  const document = JSON.parse(stdout);
  assert.equal(document.kind, "preset");
  assert.equal(document.source, "preset tiny");
  assert.equal(document.storedDtype, "float16");
  assert.deepEqual(document.config, config);
  assert.deepEqual(document.perRank, [
    { weightBytes: 2048, kvBytesPerToken: 1024, ops: 12, kvBytesAtFullContext: 65536 },
  ]);
  assert.deepEqual(document.validRanks, [1, 2]);
  assert.deepEqual(document.graph, ["0 embed", "1 norm"]);
});

test("without the addon: everything but memory, and why", async () => {
  const native = async () => ({
    native: () => {
      throw new RuntimeError("ERR_NATIVE_LOAD", "not built");
    },
  });
  const { code, stdout } = await kraken(["inspect", "ckpt.pt"], { library: { ...fakes(), native } });
  assert.equal(code, 0);
  assert.match(stdout, /Kraken, 2 ways/);
  assert.match(stdout, /not known: not built/);
});

test("a checkpoint that cannot be read", async () => {
  const checkpoint = async () => ({
    openCheckpoint: async () => {
      throw new CheckpointError("ERR_CHECKPOINT_FORMAT", "x.pt is truncated");
    },
  });
  const { code, stderr } = await kraken(["inspect", "x.pt"], { library: { ...fakes(), checkpoint } });
  assert.equal(code, 1);
  assert.equal(stderr, "error: x.pt is truncated\ncode: ERR_CHECKPOINT_FORMAT\n");
});

test("an engine directory: its own ranks, dtype and backend; one that was changed says so", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "kraken-cli-"));
  t.after(() => rm(directory, { recursive: true }));
  const manifest = serializeManifest({
    format: "kraken-engine",
    formatVersion: 1,
    createdBy: "kraken-engine 0.1.0",
    source: "a checkpoint of a test",
    architecture: "kraken",
    config,
    ranks: 2,
    dtype: "float32",
    backend: "cpu",
    communication: "overlapped",
    padding: {},
    versions: {},
    tokenizer: { kind: "gpt2" },
    eosTokenIds: [],
    files: { "rank0.engine": { bytes: 1024, sha256: "" }, "rank1.engine": { bytes: 1024, sha256: "" } },
  });
  await writeFile(join(directory, "config.json"), manifest);
  const asked: Record<string, unknown>[] = [];
  const { stdout } = await kraken(["inspect", directory], { library: fakes(asked) });
  assert.deepEqual(asked, [{ config, ranks: 2, dtype: "float32", backend: "cpu", ...limits }]);
  assert.match(stdout, /: engine\n/);
  assert.match(stdout, /^ {2}built by +kraken-engine 0\.1\.0$/m);
  assert.match(stdout, /^ {2}tokenizer +GPT-2's, built in$/m);
  assert.match(stdout, /^ {2}files +2\.00 KiB$/m);

  await writeFile(join(directory, "config.json"), manifest.replace('"layers": 3', '"layers": 4'));
  const changed = await kraken(["inspect", directory], { library: fakes() });
  assert.equal(changed.code, 1);
  assert.match(changed.stderr, /code: ERR_ENGINE_CORRUPT/);
});
