/**
 * From an installed TensorRT-LLM to an engine that runs: `kraken doctor --build-trtllm` compiles the wrapper against the
 * headers and the library it finds, here the double's library under the layout of the Python package and its headers apart,
 * and loading finds what it built. The one test that compiles; it takes the longest.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Engine } from "../../lib/index.js";
import { withEnvironment } from "../helpers/environment.js";
import { allGone, buildDouble, doubleOnly, doubleWorker, skip } from "../helpers/trtllm-double.js";

const repository = fileURLToPath(new URL("../..", import.meta.url));

test("doctor builds the wrapper, and engines run with it", { skip: skip || doubleOnly }, async () => {
  const root = await mkdtemp(join(tmpdir(), "kraken-trtllm-doctor-"));
  const mark = `doctor-${process.pid}`;
  const site = join(root, "tensorrt_llm");
  await mkdir(join(site, "libs"), { recursive: true });
  await symlink(join(dirname(doubleWorker), "libtensorrt_llm.so"), join(site, "libs", "libtensorrt_llm.so"));
  await writeFile(join(site, "version.py"), '__version__ = "1.2.1"\n');
  const undo = withEnvironment({
    KRAKEN_TRTLLM_WORKER: undefined,
    TENSORRT_LLM_ROOT: site,
    TENSORRT_LLM_INCLUDE: join(repository, "test", "trtllm", "include"),
    XDG_CACHE_HOME: join(root, "cache"),
    KRAKEN_TEST_MARK: mark,
    CMAKE_BUILD_TYPE: "Debug", // compiles in half the time
  });
  try {
    await buildDouble(join(root, "engine"), { ranks: 2 });
    await assert.rejects(Engine.load(join(root, "engine")), {
      code: "ERR_BACKEND_UNAVAILABLE",
      message: /not built for it: `kraken doctor --build-trtllm` builds it/,
    });
    const command = ["--import", "tsx", join("lib", "cli", "main.ts"), "doctor", "--build-trtllm"];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, command, { cwd: repository });
    assert.match(stderr, /kraken-worker-trtllm is built for TensorRT-LLM 1\.2\.1/);
    assert.match(stdout, /^TensorRT-LLM +1\.2\.1, kraken-worker-trtllm is built; for 1\.2\.x/m);
    await using engine = await Engine.load(join(root, "engine"));
    const { tokens } = await engine.generate([1, 2], { maxTokens: 3, temperature: 0, ignoreEos: true });
    assert.equal(tokens.length, 3);
  } finally {
    undo();
    await allGone(mark);
    await rm(root, { recursive: true, force: true });
  }
});
