/**
 * Ranks whose engine has plugins of ours: registered in TensorRT-LLM's TensorRT before it reads the engine, and bound to
 * their communicator while it does. All libraries are stand-ins that write down what they are asked (stand_ins/).
 */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Engine } from "../../lib/index.js";
import { withEnvironment } from "../helpers/environment.js";
import { allGone, buildDouble, doubleOnly, doubleWorker, outcome, skip } from "../helpers/trtllm-double.js";

const mark = `plugins-${process.pid}`;
const standIns = join(dirname(doubleWorker), "stand_ins");
let root: string;
let restore = () => {};

before(async () => {
  if (skip || doubleOnly) return;
  root = await mkdtemp(join(tmpdir(), "kraken-trtllm-"));
  restore = withEnvironment({
    KRAKEN_TRTLLM_WORKER: doubleWorker,
    KRAKEN_TEST_MARK: mark,
    LD_LIBRARY_PATH: standIns,
    KRAKEN_PLUGINS: join(standIns, "libkraken_plugins.so"),
  });
  await buildDouble(join(root, "engine"), {
    ranks: 2,
    change: (manifest) => {
      manifest.kraken!.plugins = 7;
    },
  });
});
after(async () => {
  restore();
  if (root) await rm(root, { recursive: true, force: true });
});

async function load(variables: Record<string, string | undefined>): Promise<string> {
  const undo = withEnvironment(variables);
  try {
    return await outcome(
      Engine.load(join(root, "engine")).then(async (engine) => {
        await engine.generate([1, 2], { maxTokens: 2, temperature: 0, ignoreEos: true });
        await engine.dispose();
      }),
    );
  } finally {
    undo();
    await allGone(mark);
  }
}

describe("tensorrt-llm with plugins", { skip: skip || doubleOnly }, () => {
  test("every rank registers them first, and binds them while the executor is made", async () => {
    const events = join(root, "events");
    // Twice 7: TensorRT-LLM makes a context for each profile.
    assert.equal(await load({ KRAKEN_DOUBLE_EVENTS: events, KRAKEN_DOUBLE_PLUGINS: "14" }), "done");
    for (const rank of [0, 1]) {
      const lines = (await readFile(`${events}.${rank}`, "utf8")).trim().split("\n");
      const capacity = /, (\d+) bytes$/.exec(lines[3]!)?.[1];
      assert.ok(Number(capacity) > 0);
      assert.deepEqual(lines, [
        "their plugins in tensorrt_llm",
        "our plugins",
        `GPU ${rank}`,
        `communicator of 100 101, ${capacity} bytes`,
        "bound",
        "executor",
        "unbound",
        "communicator gone",
      ]);
    }
  });

  test("plugins that found no communicator would compute without their peers: refused", async () => {
    assert.match(
      await load({ KRAKEN_DOUBLE_PLUGINS: "3" }),
      /^ERR_ENGINE_CORRUPT .*has 7 plugins, 3 got their communicator/,
    );
  });

  test("libraries that are missing, or of another TensorRT", async () => {
    assert.match(
      await load({ LD_LIBRARY_PATH: root }),
      /^ERR_BACKEND_UNAVAILABLE .*lib(nvinfer|cuda).*cannot open shared object file/,
    );
    assert.match(
      await load({ KRAKEN_DOUBLE_TENSORRT: "110200" }),
      /^ERR_BACKEND_UNAVAILABLE .*is for TensorRT 11, TensorRT-LLM uses TensorRT 10/,
    );
  });
});
