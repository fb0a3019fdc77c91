/** The directory of an engine for the examples: the one given on the command line, or one built from the bundled model. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildEngine } from "kraken-engine";

export async function demoEngine() {
  if (process.argv[2]) return process.argv[2];
  const output = join("engines", "example");
  if (!existsSync(output)) {
    const root = fileURLToPath(new URL(".", import.meta.resolve("kraken-engine/package.json")));
    await buildEngine({ checkpoint: join(root, "models", "kraken-austen-2way"), output, ranks: 2 });
  }
  return output;
}
