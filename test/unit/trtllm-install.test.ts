/** Where TensorRT-LLM's headers are: its Python package has none, so they come from its sources or a container image. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { findTrtLlm, findTrtLlmHeaders } from "../../lib/trtllm/install.js";

const root = mkdtempSync(join(tmpdir(), "kraken-trtllm-install-"));
after(() => rmSync(root, { recursive: true, force: true }));

const version = (folder: string, text: string) => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "version.py"), `__version__ = "${text}"\n`);
};

const installed = join(root, "site", "tensorrt_llm");
version(installed, "1.2.1");
mkdirSync(join(installed, "libs"));
writeFileSync(join(installed, "libs", "libtensorrt_llm.so"), "");
const install = () => findTrtLlm({ TENSORRT_LLM_ROOT: installed });

/** A clone of its sources. */
function clone(name: string, release: string): string {
  version(join(root, name, "tensorrt_llm"), release);
  const include = join(root, name, "cpp", "include");
  mkdirSync(join(include, "tensorrt_llm", "executor"), { recursive: true });
  writeFileSync(join(include, "tensorrt_llm", "executor", "executor.h"), "");
  return include;
}

test("the package alone is found, and is enough for building engines", async () => {
  const { version: release, library, libraryPath } = await install();
  assert.deepEqual([release, libraryPath[0]], ["1.2.1", join(installed, "libs")]);
  assert.equal(library, join(installed, "libs", "libtensorrt_llm.so"));
});

test("headers are those of TENSORRT_LLM_INCLUDE, of the same release", async () => {
  const same = clone("same", "1.2.1");
  assert.equal(findTrtLlmHeaders(await install(), { TENSORRT_LLM_INCLUDE: same }), same);
  const refused = async (folder: string, message: RegExp) => {
    const there = await install();
    assert.throws(() => findTrtLlmHeaders(there, { TENSORRT_LLM_INCLUDE: folder }), {
      code: "ERR_BACKEND_UNAVAILABLE",
      message,
    });
  };
  await refused(clone("other", "1.2.0"), /are TensorRT-LLM 1\.2\.0's, and 1\.2\.1 is installed/);
  await refused(join(root, "nothing"), /are not in TENSORRT_LLM_INCLUDE .*clone its sources at v1\.2\.1/);
});

test("headers beside a package that has them are found", async () => {
  const own = join(installed, "include");
  mkdirSync(join(own, "tensorrt_llm", "executor"), { recursive: true });
  writeFileSync(join(own, "tensorrt_llm", "executor", "executor.h"), "");
  assert.equal(findTrtLlmHeaders(await install(), {}), own);
});
