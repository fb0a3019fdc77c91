/** `npm run docs:api`: the API reference in docs/api/. A warning of typedoc's, also about what is undocumented, is an error. */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = join(here, "..", "..", "docs", "api");

function run(program, ...args) {
  const { status, error } = spawnSync(program, args, { cwd: here, stdio: ["ignore", "inherit", "inherit"] });
  if (error) console.error(`docs: cannot run ${program}: ${error.message}`);
  if (status !== 0) process.exit(status || 1);
}

const installed = join(here, "node_modules", ".package-lock.json");
const lock = join(here, "package-lock.json");
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error");
}
rmSync(output, { recursive: true, force: true });
run(process.execPath, join("node_modules", "typedoc", "bin", "typedoc"), "--logLevel", "Warn");
console.error(`docs: ${relative(process.cwd(), join(output, "index.html"))}`);
