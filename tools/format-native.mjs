/** clang-format over our C++ (`--check` only reports). Skipped, with a word, where clang-format is not installed. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const check = process.argv.includes("--check");
const files = ["native", "plugins", "test", "bench"].flatMap((dir) =>
  readdirSync(join(root, dir), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(h|cpp|cu|cuh)$/.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name)),
);
if (spawnSync("clang-format", ["--version"], { stdio: "ignore" }).status !== 0) {
  console.error("format-native: skipped, clang-format is not installed (apt-get install clang-format)");
  process.exit(process.env.CI ? 1 : 0);
}
const result = spawnSync("clang-format", check ? ["--dry-run", "--Werror", ...files] : ["-i", ...files], {
  cwd: root,
  stdio: "inherit",
});
process.exit(result.status ?? 1);
