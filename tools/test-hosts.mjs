/**
 * `npm run test:hosts`, after set-up: engines on two and four hosts, which are network namespaces of this machine. Where
 * there can be none it says why, and that is no failure.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { register } from "tsx/esm/api";

register();
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { withoutNamespaces } = await import(join(root, "test", "helpers", "namespaces.ts"));

const why = withoutNamespaces();
if (why !== undefined) {
  console.error(`test:hosts: skipped, ${why}`);
  process.exit(0);
}
const folder = join("test", "hosts");
const files = readdirSync(join(root, folder)).filter((name) => name.endsWith(".test.ts"));
const args = [
  "--import",
  "tsx",
  "--test",
  "--test-concurrency=1",
  ...files.map((name) => join(folder, name)),
];
process.exit(
  spawnSync(process.execPath, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] }).status ?? 1,
);
