/**
 * Builds native code: the addon through cmake-js (default), or the tests through plain cmake
 * (`--tests`; with `--sanitize address,undefined` or `--sanitize thread` in a build folder of their own).
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
  options: { tests: { type: "boolean" }, sanitize: { type: "string" } },
});

const cmakeJs = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
const addon = () =>
  run(process.execPath, [
    cmakeJs,
    "compile",
    "--prefer-make=false",
    "-G",
    "Ninja",
    "--parallel",
    jobs,
    "--silent",
  ]);

if (!values.tests) {
  addon();
} else if (!values.sanitize) {
  // The same tree as the addon's, so that kraken_core is compiled once.
  if (!existsSync(join(root, "build", "CMakeCache.txt"))) addon();
  run("cmake", ["-S", ".", "-B", "build", "-DKRAKEN_TESTS=ON"]);
  run("cmake", ["--build", "build", "-j", jobs]);
} else {
  const dir = `build-${values.sanitize.replace(",", "-")}`;
  const settings = {
    CMAKE_BUILD_TYPE: "RelWithDebInfo",
    KRAKEN_TESTS: "ON",
    KRAKEN_ADDON: "OFF",
    KRAKEN_SANITIZE: values.sanitize,
  };
  const defines = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
  run("cmake", ["-S", ".", "-B", dir, "-G", "Ninja", ...defines]);
  run("cmake", ["--build", dir, "-j", jobs]);
}
