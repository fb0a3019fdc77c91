/** npm's script before packing: dist/ anew, and a word about binaries that are missing or of other sources. */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);

function fail(message) {
  console.error(`prepack: ${message}`);
  process.exit(1);
}

/** What the worker says of its build, and what the addon that it lies beside wants it to say. */
function checkPrebuilt() {
  const folder = join(root, "prebuilds", "linux-x64");
  if (!existsSync(join(folder, "kraken.glibc.node"))) {
    fail("there is no prebuilt binary for linux-x64: `npm run build:prebuilt` makes it, on Debian 12");
  }
  if (process.platform !== "linux" || process.arch !== "x64") return;
  const { version } = require("../package.json");
  const addon = require(join(folder, "kraken.glibc.node"));
  const { version: wanted, trouble } = addon.worker();
  if (addon.version !== version || trouble !== "") {
    fail(
      `prebuilds/linux-x64 does not fit: addon ${addon.version}, package ${version}; ${trouble || wanted}`,
    );
  }
  const built = join(root, "build", "Release", "kraken.node");
  if (existsSync(built) && require(built).worker().version !== wanted) {
    fail(
      `prebuilds/linux-x64 has another build than build/ (${wanted}): run \`npm run build:prebuilt\` again`,
    );
  }
}

checkPrebuilt();
rmSync(join(root, "dist"), { recursive: true, force: true });
const { status } = spawnSync("npm", ["run", "--silent", "build:ts"], {
  cwd: root,
  stdio: ["ignore", "inherit", "inherit"],
});
if (status !== 0) process.exit(status ?? 1);
await import("./copy-assets.mjs");
