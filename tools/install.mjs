/**
 * npm's install script: nothing to do where a prebuilt binary runs or in a development clone (npm run setup builds
 * there); otherwise builds from source. It never downloads anything and a failure names what is missing.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const inClone = existsSync(join(root, "test"));

/** Opens it, because one that is there may still need another libc; in a process of its own, because it may crash. */
function prebuilt() {
  const open = `require("node-gyp-build")(${JSON.stringify(root)})`;
  const { status } = spawnSync(process.execPath, ["-e", open], { cwd: root, stdio: "ignore" });
  return status === 0;
}

if (!inClone && !prebuilt()) {
  console.error("kraken-engine: no prebuilt binary runs here; building from source");
  const setup = join(root, "tools", "setup.mjs");
  const { status } = spawnSync(process.execPath, [setup, "--package"], { cwd: root, stdio: "inherit" });
  process.exit(status ?? 1);
}
