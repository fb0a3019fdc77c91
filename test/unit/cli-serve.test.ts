/** kraken serve: what its flags mean, where keys come from, and how it ends. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { ListenOptions, ServerOptions } from "../../lib/server/index.js";
import { fakeEngine, given, kraken, type World } from "./cli-harness.js";

const key = "a-key-of-enough-letters";

/** Serves until it is told to end, at once unless a rank is lost. */
async function serve(args: string[], world: { lost?: string } = {}) {
  const fake = fakeEngine();
  const seen: { options?: ServerOptions; listen?: ListenOptions; closed: number } = { closed: 0 };
  const controller = new AbortController();
  const createServer = async (_: unknown, options: ServerOptions) => {
    seen.options = options;
    return {
      modelName: options.modelName ?? "demo",
      async listen(listen: ListenOptions) {
        seen.listen = listen;
        if (world.lost !== undefined) options.onEngineLost?.(world.lost);
        else controller.abort(new Error("the end"));
        return "http://127.0.0.1:1234";
      },
      async close() {
        seen.closed++;
      },
    };
  };
  const context: World = {
    library: { ...fake.library, server: async () => ({ createServer }) },
    signal: controller.signal,
  };
  return { ...(await kraken(["serve", ...args], context)), fake, seen };
}

const settings = ({ seen }: Awaited<ReturnType<typeof serve>>) => {
  const { logStream, processMetrics, onEngineLost, ...rest } = given(seen.options as Record<string, unknown>);
  return rest as ServerOptions;
};

describe("kraken serve", () => {
  test("says where, and ends with 0 when it is told to", async () => {
    const ran = await serve(["engines/demo"]);
    assert.equal(ran.code, 0);
    assert.equal(
      ran.stdout,
      "demo is served at http://127.0.0.1:1234: base URL http://127.0.0.1:1234/v1, page http://127.0.0.1:1234/\n",
    );
    assert.deepEqual(settings(ran), { page: true });
    assert.deepEqual(given(ran.seen.listen as Record<string, unknown>), {});
    assert.equal(ran.seen.closed, 1);
    assert.ok(ran.fake.disposed);
  });

  test("--json is one document", async () => {
    const { stdout } = await serve(["engines/demo", "--json", "--model-name", "m"]);
    assert.deepEqual(JSON.parse(stdout), { url: "http://127.0.0.1:1234", model: "m" });
  });

  test("flags reach server, engine and listen()", async () => {
    const flags = [
      ...["--host", "0.0.0.0", "--port", "0", "--served_model_name", "m", "--no-page"],
      ...["--cors-origin", "https://a.example", "--cors-origin", "https://b.example"],
      ...["--max-requests", "5", "--max-connections", "6", "--max-body-bytes", "7", "--max_input_len", "8"],
      ...[
        "--max-output-tokens",
        "9",
        "--deadline",
        "1.5",
        "--drain",
        "2",
        "--log-level",
        "warn",
        "--log-prompts",
      ],
      ...["--max-queue", "10", "--max_batch_size", "11", "--isolation", "process"],
    ];
    const ran = await serve(["engines/demo", ...flags]);
    assert.equal(ran.code, 0, ran.stderr);
    assert.deepEqual(settings(ran), {
      modelName: "m",
      page: false,
      corsOrigins: ["https://a.example", "https://b.example"],
      maxRequests: 5,
      maxConnections: 6,
      maxBodyBytes: 7,
      maxPromptTokens: 8,
      maxOutputTokens: 9,
      deadlineSeconds: 1.5,
      drainSeconds: 2,
      logLevel: "warn",
      logPrompts: true,
    });
    assert.deepEqual(ran.seen.listen, { host: "0.0.0.0", port: 0 });
    const load = given(ran.fake.load);
    assert.deepEqual([load.maxQueue, load.maxBatchSize, load.isolation], [10, 11, "process"]);
  });

  test("a lost rank ends it with 1, unless it is to load the engine again", async () => {
    const ran = await serve(["engines/demo"], { lost: "rank 1 is gone" });
    assert.equal(ran.code, 1);
    assert.equal(ran.stderr, "error: rank 1 is gone\ncode: ERR_RANK_LOST\n");
    assert.equal(ran.seen.closed, 1);
    const { seen } = await serve(["engines/demo", "--on-rank-lost", "reload"]);
    assert.equal(seen.options?.onEngineLost, undefined);
    assert.ok(await seen.options?.reload?.());
  });

  test("keys come from a file and the environment", async (t) => {
    const root = await mkdtemp(join(tmpdir(), "kraken-keys-"));
    t.after(() => rm(root, { recursive: true }));
    const file = join(root, "keys");
    await writeFile(file, `# ours\n${key}-1\n\n  ${key}-2\r\n`);
    assert.deepEqual(settings(await serve(["x", "--api-key-file", file])).apiKeys, [`${key}-1`, `${key}-2`]);
    process.env.KRAKEN_API_KEY = key;
    t.after(() => delete process.env.KRAKEN_API_KEY);
    assert.deepEqual(settings(await serve(["x"])).apiKeys, [key]);
    assert.deepEqual(settings(await serve(["x", "--api-key-file", file])).apiKeys?.length, 3);
    await writeFile(file, "# none\n");
    assert.match((await serve(["x", "--api-key-file", file])).stderr, /has no key/);
    assert.match((await serve(["x", "--api-key-file", join(root, "no")])).stderr, /code: ERR_IO/);
  });

  test("a choice there is not is refused", async () => {
    const ran = await serve(["x", "--on-rank-lost", "relaod"]);
    assert.equal(ran.code, 2);
    assert.match(ran.stderr, /Did you mean reload/);
  });
});
