/**
 * `npm start`, after set-up: builds the bundled model's engine for 2 ranks (once) and streams English from it.
 * `npm start -- serve` serves it instead, to clients of OpenAI's API; options after that are those of `kraken serve`.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const models = join(root, "models");
const model =
  existsSync(models) && readdirSync(models).find((name) => existsSync(join(models, name, "config.json")));
if (!model) {
  console.error("start: no bundled model under models/");
  process.exit(1);
}
const engine = join("engines", `${model}-2ranks`);

function kraken(...args) {
  const result = spawnSync(process.execPath, ["--import", "tsx", join("lib", "cli", "main.ts"), ...args], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

console.error(`kraken build ${join("models", model)} --output ${engine} --ranks 2`);
kraken("build", join("models", model), "--output", engine, "--ranks", "2", "--dtype", "bfloat16", "--force");
const [what, ...options] = process.argv.slice(2);
if (what === "serve") {
  const args = ["serve", engine, "--model-name", model, "--log-level", "warn", ...options];
  console.error(`\nkraken ${args.join(" ")}\n`);
  const child = spawn(process.execPath, ["--import", "tsx", join("lib", "cli", "main.ts"), ...args], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  // A terminal sends Ctrl-C to both; what is sent to this process alone is passed on.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("exit", (code) => process.exit(code ?? 1));
} else {
  const prompt = "It was a fine morning, and Elizabeth";
  console.error(`\nkraken generate ${engine} --prompt "${prompt}"\n`);
  const sampling = ["--max-tokens", "160", "--temperature", "0.7", "--top-p", "0.9", "--seed", "3"];
  kraken("generate", engine, "--prompt", prompt, ...sampling, "--stats");
}
