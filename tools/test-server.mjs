/**
 * `npm run test:server`, after set-up: the server under load, and against requests made from its OpenAPI document.
 * `-- --seconds 180` makes the load last longer.
 */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({ options: { seconds: { type: "string", default: "30" } } });
const files = ["load", "schemathesis"].map((name) => join("test", "load", `${name}.test.ts`));
const result = spawnSync(process.execPath, ["--import", "tsx", "--test", "--test-concurrency=1", ...files], {
  cwd: root,
  stdio: ["ignore", "inherit", "inherit"],
  env: { ...process.env, KRAKEN_LOAD_SECONDS: values.seconds },
});
process.exit(result.status ?? 1);
