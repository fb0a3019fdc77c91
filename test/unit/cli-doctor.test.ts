/** kraken doctor: what it says with and without the addon, and that it gives nobody away. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { withoutPaths } from "../../lib/cli/diagnosis.js";
import { RuntimeError } from "../../lib/errors.js";
import { kraken } from "./cli-harness.js";

const capabilities = {
  backends: {
    cpu: { available: true, reason: "", details: { instructionSet: "AVX512_BF16", oneDNN: "2.6.3" } },
    tensorrt: { available: false, reason: "this build has no TensorRT backend", details: {} },
  },
  libraries: { oneDNN: "2.6.3" },
  cores: 2,
};
const gpu = {
  plugins: { found: false, text: "not built: no CUDA compiler; `npm run toolchain:gpu` brings it" },
  driver: { found: true, text: "for CUDA 13.0: NVIDIA H100 (sm_90, 85 GB)" },
  tensorrt: { found: true, text: "10.15" },
  nccl: { found: false, text: "not found: libnccl.so.2" },
};
/** A worker that says `version`, and an addon that expects "kraken-worker 1.2.3". */
const withWorker = (worker: { path: string; trouble?: string }) => ({
  native: async () => ({
    native: () => ({
      version: "1.2.3",
      capabilities: () => capabilities,
      probeGpu: () => gpu,
      worker: () => ({ version: "kraken-worker 1.2.3", trouble: "", ...worker }),
    }),
  }),
});
const scripts = mkdtempSync(join(tmpdir(), "kraken-doctor-"));
after(() => rmSync(scripts, { recursive: true, force: true }));
function script(name: string, text: string): string {
  const path = join(scripts, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}
const loads = withWorker({ path: script("worker", 'test "$1" = --version && echo kraken-worker 1.2.3') });
const fails = (message: string) => ({
  native: async () => ({
    native: () => {
      throw new RuntimeError("ERR_NATIVE_LOAD", message);
    },
  }),
});

test("a machine that can run engines", async () => {
  const { code, stdout } = await kraken(["doctor"], { library: loads });
  assert.equal(code, 0);
  assert.match(stdout, /^kraken-engine +\d/);
  assert.match(stdout, /^Node +v\d+/m);
  assert.match(stdout, /^addon +loaded \(1\.2\.3\)$/m);
  assert.match(stdout, /^worker +kraken-worker 1\.2\.3$/m);
  assert.match(stdout, /^cpu +available, instruction set AVX512_BF16$/m);
  assert.match(stdout, /^tensorrt +not available: this build has no TensorRT backend$/m);
  assert.match(stdout, /^GPU plugins +not built: no CUDA compiler; `npm run toolchain:gpu` brings it$/m);
  assert.match(stdout, /^GPU driver +for CUDA 13\.0: NVIDIA H100 \(sm_90, 85 GB\)$/m);
  assert.match(stdout, /^TensorRT +10\.15$/m);
  assert.match(stdout, /^NCCL +not found: libnccl\.so\.2$/m);
  assert.match(stdout, /^built with +oneDNN 2\.6\.3$/m);
});

test("--json", async () => {
  const { code, stdout } = await kraken(["doctor", "--json"], { library: loads });
  assert.equal(code, 0);
  const document = JSON.parse(stdout);
  assert.equal(document.ok, true);
  assert.deepEqual(document.backends, capabilities.backends);
  assert.deepEqual(document.worker, { available: true, version: "kraken-worker 1.2.3" });
  assert.deepEqual(document.gpu, gpu);
  assert.ok(document.memory.totalBytes > 0 && document.cpu.usable > 0);
});

test("a worker that is missing, of another build, or fails, is said", async () => {
  for (const [worker, expected] of [
    [{ path: "x", trouble: "it is not there" }, /^worker +not available: it is not there$/m],
    [
      { path: script("other", "echo kraken-worker 9") },
      /the addon needs kraken-worker 1\.2\.3, found kraken-worker 9$/m,
    ],
    [{ path: script("fails", "exit 3") }, /^worker +not available: Command failed/m],
  ] as const) {
    const { code, stdout } = await kraken(["doctor"], { library: withWorker(worker) });
    assert.equal(code, 0); // engines run in this process all the same
    assert.match(stdout, expected);
  }
});

/** A folder that passes for the Python package of TensorRT-LLM. */
function trtllmRoot(version: string, { complete = true } = {}): string {
  const root = mkdtempSync(join(scripts, "trtllm-"));
  mkdirSync(join(root, "libs"), { recursive: true });
  writeFileSync(join(root, "version.py"), `__version__ = "${version}"\n`);
  if (complete) writeFileSync(join(root, "libs/libtensorrt_llm.so"), "");
  return root;
}

test("TensorRT-LLM: which line it must be, whether it is here, and what is missing", async () => {
  const names = ["TENSORRT_LLM_ROOT", "KRAKEN_TRTLLM_WORKER", "XDG_CACHE_HOME"] as const;
  const before = names.map((name) => [name, process.env[name]] as const);
  const state = async (variables: Partial<Record<(typeof names)[number], string>>) => {
    for (const name of names) {
      if (variables[name] === undefined) delete process.env[name];
      else process.env[name] = variables[name];
    }
    const { stdout } = await kraken(["doctor"], { library: loads });
    return /^TensorRT-LLM +(.*)$/m.exec(stdout)?.[1] ?? "";
  };
  try {
    const why = /; for 1\.2\.x, the last line that runs TensorRT engines: 1\.3 removed them$/;
    const empty = { XDG_CACHE_HOME: scripts };
    const newer = await state({ ...empty, TENSORRT_LLM_ROOT: trtllmRoot("1.3.0") });
    assert.match(newer, /^TensorRT-LLM 1\.3\.0 is installed.*from 1\.3 on it runs no TensorRT engines/);
    assert.match(newer, why);
    assert.match(
      await state({ ...empty, TENSORRT_LLM_ROOT: trtllmRoot("1.2.1") }),
      /^TensorRT-LLM 1\.2\.1 is installed, but kraken-worker-trtllm is not built.*--build-trtllm/,
    );
    assert.match(
      await state({ ...empty, TENSORRT_LLM_ROOT: trtllmRoot("1.2.1", { complete: false }) }),
      /is incomplete/,
    );
    assert.match(await state({ ...empty, TENSORRT_LLM_ROOT: scripts }), /has no version\.py/);
    const worker = script("trtllm", "echo 'kraken-worker 1.2.3, TensorRT-LLM 1.2.1'");
    assert.match(
      await state({ KRAKEN_TRTLLM_WORKER: worker }),
      /^1\.2\.1, kraken-worker-trtllm is built; for 1\.2\.x/,
    );
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
});

test("an addon that does not load is the diagnosis, not a failure", async () => {
  const library = fails("no build was found");
  const { code, stdout, stderr } = await kraken(["doctor"], { library });
  assert.equal(code, 1);
  assert.match(stdout, /^addon +not loaded: no build was found$/m);
  assert.equal(stderr, "");
  const json = await kraken(["doctor", "--json"], { library });
  assert.equal(json.code, 1);
  const document = JSON.parse(json.stdout);
  assert.deepEqual(document.addon, { loaded: false, reason: "no build was found" });
  assert.equal(document.gpu, null);
});

test("paths of the user are not printed", () => {
  const root = resolve(import.meta.dirname, "..", "..");
  assert.equal(withoutPaths(`cannot open ${join(root, "build", "x")}`), "cannot open <package>/build/x");
  assert.equal(withoutPaths(`cannot open ${join(homedir(), "x")}`), "cannot open ~/x");
});
