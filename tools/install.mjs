/**
 * npm's install script: nothing to do where a prebuilt binary fits or in a development clone (npm run setup builds
 * there); otherwise builds from source. It never downloads anything and a failure names what is missing.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const inClone = existsSync(join(root, "test"));

function prebuilt() {
  try {
    createRequire(import.meta.url)("node-gyp-build").path(root);
    return true;
  } catch {
    return false;
  }
}

if (!inClone && !prebuilt()) {
  const setup = join(root, "tools", "setup.mjs");
  const { status } = spawnSync(process.execPath, [setup, "--package"], { cwd: root, stdio: "inherit" });
  process.exit(status ?? 1);
}
