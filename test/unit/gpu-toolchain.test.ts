/** The GPU toolchain: that a part is whole or absent, that checksums are checked, and what the build's search finds. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

interface Installer {
  isInstalled(directory: string, entry: unknown): boolean;
  installInto(directory: string, entry: unknown, fill: (target: string) => Promise<void>): Promise<void>;
  runClient(program: string, args: string[]): string;
  verifyChecksum(path: string, expected: string, what: string): Promise<void>;
}
const root = resolve(import.meta.dirname, "..", "..");
const { isInstalled, installInto, runClient, verifyChecksum } = (await import(
  join(root, "tools", "gpu-toolchain", "install.mjs")
)) as Installer;

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kraken-toolchain-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const write = (path: string, text: string) => {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
};

test("a part is installed once, and again when its pinned version changes", async () => {
  const part = join(directory, "part");
  const fill = (text: string) => async (target: string) => writeFileSync(join(target, "file"), text);
  assert.equal(isInstalled(part, { version: 1 }), false);
  await installInto(part, { version: 1 }, fill("one"));
  assert.equal(isInstalled(part, { version: 1 }), true);
  assert.equal(isInstalled(part, { version: 2 }), false);
  await installInto(part, { version: 2 }, fill("two"));
  assert.equal(isInstalled(part, { version: 2 }), true);
  assert.deepEqual(readdirSync(directory), ["part"]);
});

test("a part that fails leaves nothing, and what was there before stays", async () => {
  const part = join(directory, "part");
  const fails = async (target: string) => {
    writeFileSync(join(target, "half"), "written");
    throw new Error("no network");
  };
  await assert.rejects(installInto(part, { version: 1 }, fails), /no network/);
  assert.deepEqual(readdirSync(directory), []);
  await installInto(part, { version: 1 }, async (target) => writeFileSync(join(target, "file"), ""));
  await assert.rejects(installInto(part, { version: 2 }, fails), /no network/);
  assert.equal(isInstalled(part, { version: 1 }), true);
  assert.ok(existsSync(join(part, "file")) && !existsSync(join(part, "half")));
});

test("what a registry serves must have the pinned checksum", async () => {
  const file = join(directory, "wheel");
  writeFileSync(file, "contents");
  const sum = createHash("sha256").update("contents").digest("hex");
  await verifyChecksum(file, sum, "wheel");
  await assert.rejects(verifyChecksum(file, "0".repeat(64), "the wheel"), (error: Error) => {
    assert.match(error.message, new RegExp(`the wheel has SHA-256 ${sum}, expected 0{64}`));
    return true;
  });
});

test("a client that is missing or fails says so", () => {
  const path = process.env.PATH;
  process.env.PATH = directory;
  try {
    assert.throws(
      () => runClient("cargo", ["info"]),
      /cargo was not found: install it \(apt-get install cargo/,
    );
    write(join(directory, "mvn"), "#!/bin/sh\necho artifact not found >&2\nexit 3\n");
    chmodSync(join(directory, "mvn"), 0o755);
    assert.throws(() => runClient("mvn", []), /mvn failed \(exit code 3\):\nartifact not found/);
  } finally {
    process.env.PATH = path;
  }
});

/** CMake's search with an environment of its own; name → value. */
function search(
  environment: Record<string, string>,
  toolchain = join(directory, "none"),
): Map<string, string> {
  const script = join(root, "cmake", "find-gpu.cmake");
  const env = { PATH: process.env.PATH ?? "", ...environment };
  const output = execFileSync("cmake", [`-DKRAKEN_TOOLCHAIN=${toolchain}`, "-P", script], { env });
  const lines = output.toString().matchAll(/^-- ([A-Z0-9_]+)=(.+)$/gm);
  return new Map([...lines].map(([, name, value]) => [name!, value!]));
}

function fakeCompiler(path: string, release: string): void {
  write(path, `#!/bin/sh\necho "Cuda compilation tools, release ${release}, V${release}.37"\n`);
  chmodSync(path, 0o755);
}

function fakeHeaders(folder: string, prefix: string, version: [number, number]): void {
  const define = (name: string, value: string | number) => `#define ${name} ${value} //!< text\n`;
  const named = (part: string) => (prefix === "TRT" ? `TRT_${part}_ENTERPRISE` : `NV_TENSORRT_${part}`);
  const own = define(named("MAJOR"), version[0]) + define(named("MINOR"), version[1]);
  const alias = prefix === "TRT" ? define("NV_TENSORRT_MAJOR", named("MAJOR")) : "";
  write(join(folder, "NvInferVersion.h"), own + alias);
  write(join(folder, "NvInfer.h"), "");
}

test("the search takes the environment's compiler before the toolchain's, and none that is too old", () => {
  const toolchain = join(directory, "toolchain");
  fakeCompiler(join(toolchain, "cuda", "nvidia", "cu13", "bin", "nvcc"), "13.5");
  fakeCompiler(join(directory, "new", "bin", "nvcc"), "13.0");
  fakeCompiler(join(directory, "old", "bin", "nvcc"), "11.8");
  const version = (env: Record<string, string>) => search(env, toolchain).get("KRAKEN_NVCC_VERSION");
  assert.equal(version({ CUDACXX: join(directory, "new", "bin", "nvcc") }), "13.0.37");
  assert.equal(version({ CUDA_HOME: join(directory, "new") }), "13.0.37");
  assert.notEqual(version({ CUDACXX: join(directory, "old", "bin", "nvcc") }), "11.8.37");
});

test("the search reads the versions of both kinds of TensorRT headers", () => {
  fakeHeaders(join(directory, "ten", "include"), "NV", [10, 6]);
  fakeHeaders(join(directory, "eleven", "include"), "TRT", [11, 4]);
  fakeHeaders(join(directory, "eight", "include"), "NV", [8, 6]);
  assert.equal(search({ TENSORRT_ROOT: join(directory, "ten") }).get("KRAKEN_TENSORRT_10_VERSION"), "10.6");
  assert.equal(
    search({ TENSORRT_ROOT: join(directory, "eleven") }).get("KRAKEN_TENSORRT_11_VERSION"),
    "11.4",
  );
  const eight = search({ TENSORRT_ROOT: join(directory, "eight") });
  assert.ok(![...eight.values()].includes("8.6"));
});
