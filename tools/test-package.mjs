/**
 * `npm run test:package`: packs the package as it would be published and tests what comes out: the list of files and the
 * size, the types as a strict ESM program sees them, every example, and an installation in a root without compilers.
 * The prebuilt binaries are made first, with oneDNN if its static library was built before (`npm run build:prebuilt`
 * builds it, which takes minutes).
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { staticLibrary } from "./prebuilt/libraries.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

function run(title, program, args, env = {}) {
  console.error(`\ntest: ${title}`);
  const result = spawnSync(program, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  if (result.status === 0) return;
  console.error(`test: ${title} FAILED`);
  process.exit(result.status || 1);
}

const onednn = staticLibrary("onednn").installed();
if (!onednn) console.error("test: packed without oneDNN, whose static library was not built on this machine");
const variant = onednn ? [] : ["--without-onednn"];
run("prebuilt binaries", process.execPath, [join("tools", "prebuilt", "main.mjs"), ...variant]);

const directory = mkdtempSync(join(tmpdir(), "kraken-pack-"));
try {
  run("npm pack", "npm", ["pack", "--silent", "--pack-destination", directory]);
  const [tarball] = readdirSync(directory);
  const files = readdirSync(join(root, "test", "package")).filter((name) => name.endsWith(".test.ts"));
  const tests = files.map((name) => join("test", "package", name));
  run("package", process.execPath, ["--import", "tsx", "--test", "--test-concurrency=1", ...tests], {
    KRAKEN_TARBALL: join(directory, tarball),
  });
} finally {
  rmSync(directory, { recursive: true, force: true });
}
