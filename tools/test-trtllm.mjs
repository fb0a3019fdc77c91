/**
 * `npm run test:trtllm`: the tests of engines that TensorRT-LLM runs, over the library itself instead of its double. Needs
 * TensorRT-LLM 1.2.x, kraken-worker-trtllm built for it (`kraken doctor --build-trtllm`), and in KRAKEN_TRTLLM_ENGINES the
 * folder of engines that `kraken build --backend tensorrt-llm` made: ranks-2 and ranks-4. Without them it says which is
 * missing, and does nothing. What only the double can be told to do (faults, another version) is left out.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

function skip(why) {
  console.error(`test:trtllm: skipped, ${why}`);
  process.exit(0);
}

const folder = process.env.KRAKEN_TRTLLM_ENGINES;
if (!folder) skip("KRAKEN_TRTLLM_ENGINES does not name a folder of engines (ranks-2, ranks-4)");
const missing = ["ranks-2", "ranks-4"].filter((name) => !existsSync(join(folder, name, "config.json")));
if (missing.length > 0) skip(`${folder} has no engine ${missing.join(" and no engine ")}`);

const doctor = spawnSync(
  process.execPath,
  ["--import", "tsx", join("lib", "cli", "main.ts"), "doctor", "--json"],
  {
    cwd: root,
    encoding: "utf8",
  },
);
const { trtllm } = JSON.parse(doctor.stdout || "{}");
if (!trtllm?.available) skip(trtllm?.reason ?? "kraken doctor failed");

console.error(`test:trtllm: TensorRT-LLM ${trtllm.version}`);
const files = ["serving", "failures"].map((name) => join("test", "trtllm", `${name}.test.ts`));
const args = ["--import", "tsx", "--test", "--test-concurrency=1", ...files];
const env = { ...process.env, KRAKEN_TRTLLM_REAL: "1" };
process.exit(spawnSync(process.execPath, args, { cwd: root, stdio: "inherit", env }).status ?? 1);
