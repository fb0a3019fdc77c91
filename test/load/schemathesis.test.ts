/**
 * Schemathesis against the OpenAPI document: requests made from the schemas, right ones and wrong ones. No answer may be
 * a 5xx, an undocumented status or type, or contradict its schema. It lives in a Python environment of its own, which
 * is made once; where that cannot be, the test says so and is skipped.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startServe } from "../helpers/serve-process.js";
import { tinyEngine } from "../helpers/server.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const environment = join(root, ".cache", "schemathesis");
const program = join(environment, "bin", "schemathesis");

/** Why it cannot be used; undefined when it can. */
function install(): string | undefined {
  if (existsSync(program)) return undefined;
  const steps: [string, string[]][] = [
    ["python3", ["-m", "venv", environment]],
    [
      join(environment, "bin", "pip"),
      ["install", "-q", "-r", join(root, "test", "load", "requirements.txt")],
    ],
  ];
  for (const [command, args] of steps) {
    const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
    if (status !== 0)
      return `${command} ${args[0]} failed: ${error?.message ?? stderr.trim().split("\n").at(-1)}`;
  }
  return undefined;
}

test("schemathesis", async (t) => {
  const trouble = install();
  if (trouble) {
    console.error(`schemathesis skipped: ${trouble}`);
    t.skip(trouble);
    return;
  }
  await using tiny = await tinyEngine();
  await using kraken = await startServe([tiny.directory, "--log-level", "error"]);
  const { status, stdout } = spawnSync(
    program,
    [
      "run",
      `${kraken.url}/openapi.json`,
      "--checks=all",
      // What a schema cannot say (a context's length, a model's name) makes valid requests 400 or 404.
      "--exclude-checks=positive_data_acceptance",
      "--max-examples=30",
      "--seed=1",
      "--phases=coverage,fuzzing",
      "--no-color",
    ],
    { encoding: "utf8", timeout: 240_000, cwd: tiny.directory }, // it leaves files where it runs
  );
  if (status !== 0) console.error(stdout);
  assert.equal(status, 0);
  t.diagnostic(
    stdout
      .split("\n")
      .filter((line) => /passed|generated/i.test(line))
      .join("; "),
  );
  assert.equal(kraken.stderr(), "");
});
