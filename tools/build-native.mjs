/**
 * Builds native code: the addon through cmake-js (default), or the tests through plain cmake
 * (`--tests [--sanitize address,undefined|thread] [--dir build-tests]`).
 * Uses Node built-ins only; what it calls was installed by tools/setup.mjs.
 */
import { spawnSync } from "node:child_process";
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
  options: { tests: { type: "boolean" }, sanitize: { type: "string" }, dir: { type: "string" } },
});

if (values.tests) {
  const dir = values.dir ?? (values.sanitize ? `build-${values.sanitize.replace(",", "-")}` : "build-tests");
  run("cmake", [
    "-S",
    ".",
    "-B",
    dir,
    "-G",
    "Ninja",
    `-DCMAKE_BUILD_TYPE=${values.sanitize ? "RelWithDebInfo" : "Release"}`,
    "-DKRAKEN_TESTS=ON",
    "-DKRAKEN_ADDON=OFF",
    `-DKRAKEN_SANITIZE=${values.sanitize ?? ""}`,
  ]);
  run("cmake", ["--build", dir, "-j", jobs]);
} else {
  const cmakeJs = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
  run(process.execPath, [cmakeJs, "compile", "--prefer-make=false", "-G", "Ninja", "--parallel", jobs, "--silent"]);
}
