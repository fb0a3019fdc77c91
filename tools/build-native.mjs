/**
 * Builds native code: the addon through cmake-js (default), or the tests through plain cmake
 * (`--tests`; with `--sanitize address,undefined` or `--sanitize thread` in a build folder of their own).
 * `--gpu` adds what backend tensorrt opens, and fails where the toolchain for it is missing.
 * `--arm64` only compiles for 64-bit ARM, with Debian's cross compiler (g++-aarch64-linux-gnu): to see that it does.
 * Uses Node built-ins only; what it calls was installed by tools/setup.mjs.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const jobs = String(availableParallelism());

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (result.error) throw new Error(`cannot run ${command}: ${result.error.message}; run \`npm run setup\``);
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const { values } = parseArgs({
  options: {
    tests: { type: "boolean" },
    sanitize: { type: "string" },
    arm64: { type: "boolean" },
    gpu: { type: "boolean" },
  },
});

const cmakeJs = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");

/** cmake-js knows Node's headers and where the addon must lie; its report matters only when it fails. */
function configureAddon() {
  const args = [cmakeJs, "configure", "-G", "Ninja"];
  const result = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  if (result.status === 0) return;
  console.error(result.stdout, result.stderr);
  process.exit(result.status ?? 1);
}

/** In a build folder of its own, without the addon and without GPU code. */
function buildApart(dir, settings, target) {
  const all = { KRAKEN_ADDON: "OFF", KRAKEN_GPU: "OFF", ...settings };
  const defines = Object.entries(all).map(([name, value]) => `-D${name}=${value}`);
  run("cmake", ["-S", ".", "-B", dir, "-G", "Ninja", ...defines]);
  run("cmake", ["--build", dir, "-j", jobs, ...(target ? ["--target", target] : [])]);
}

if (values.sanitize) {
  buildApart(`build-${values.sanitize.replace(",", "-")}`, {
    CMAKE_BUILD_TYPE: "RelWithDebInfo",
    KRAKEN_TESTS: "ON",
    KRAKEN_SANITIZE: values.sanitize,
  });
} else if (values.arm64) {
  // Nothing is linked, so this machine's own libraries and their headers are all it takes.
  const native = spawnSync("c++", ["-print-multiarch"], { encoding: "utf8" }).stdout?.trim() ?? "";
  const processor = {
    CMAKE_SYSTEM_NAME: "Linux",
    CMAKE_SYSTEM_PROCESSOR: "aarch64",
    CMAKE_CXX_COMPILER: "aarch64-linux-gnu-g++",
    CMAKE_LIBRARY_PATH: join("/usr/lib", native),
  };
  buildApart("build-arm64", processor, "kraken_core");
} else {
  // The tests live in the addon's tree, so that kraken_core is compiled once.
  if (!values.tests || !existsSync(join(root, "build", "CMakeCache.txt"))) configureAddon();
  if (values.tests) run("cmake", ["-S", ".", "-B", "build", "-DKRAKEN_TESTS=ON"]);
  const targets = values.gpu ? ["--target", "kraken", "kraken_gpu"] : ["--target", "kraken"];
  run("cmake", ["--build", "build", "-j", jobs, ...(values.tests ? [] : targets)]);
}
