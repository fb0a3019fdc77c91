/** Ranks started by a real ssh on a host with folders of its own; part of `npm run test:hosts`. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { buildEngine, Engine, KrakenError, pushEngine } from "../../lib/index.js";
import { noRemoteRanks } from "../helpers/ranks.js";
import { SshHost, withoutSshd } from "../helpers/sshd.js";

const skip = withoutSshd() ?? false;
const run = { maxTokens: 30, temperature: 0, ignoreEos: true, seed: 1 } as const;

describe("hosts behind ssh", { skip }, () => {
  let host: SshHost;
  let engine: string;
  const hosts = ["127.0.0.1:1", "127.0.0.2:1"];
  before(async () => {
    host = await SshHost.start();
    // What a shell would take apart.
    engine = join(host.folder, `an "odd" $path's\n; name`);
    await buildEngine({ random: "kraken-tiny-2way", output: engine, ranks: 2, dtype: "float32" });
  });
  after(() => host[Symbol.asyncDispose]());

  const load = (options: Parameters<SshHost["agent"]>[0] = {}) =>
    Engine.load(engine, { hosts, launchAgent: host.agent(options), threadsPerRank: 1, startTimeout: 10 });

  test("a host without the engine is an error that says to push it", async () => {
    await assert.rejects(load(), { code: "ERR_ENGINE_PATH", message: /--push/ });
  });

  test("pushing puts a rank's files there, once", async () => {
    const push = () => pushEngine(engine, { hosts, launchAgent: host.agent() });
    const files = ["config.json", "rank1.engine"];
    assert.deepEqual(await push(), [{ host: host.address, files, written: true }]);
    assert.deepEqual(await push(), [{ host: host.address, files, written: false }]);
    assert.equal(
      host.run(`ls -A ${host.folder} | wc -l; ls -A ${host.folder}/*`),
      "2\nconfig.json\nrank1.engine\n",
    );
  });

  test("ranks there and here give the same text as one process", async () => {
    await using here = await Engine.load(engine);
    const { tokens } = await here.generate([1, 2, 3], run);
    await using both = await load();
    assert.deepEqual((await both.generate([1, 2, 3], run)).tokens, tokens);
  });

  for (const [what, options] of [
    ["a host whose key is not known", { known: "/dev/null" }],
    ["a user who is not let in", { key: "host" }],
    ["a port where nobody listens", { port: 1 }],
  ] as const) {
    test(`${what} is an error at once: nobody is asked`, async () => {
      const begun = performance.now();
      const error = await load(options).then(
        () => assert.fail("it loaded"),
        (reason: unknown) => reason,
      );
      assert.ok(error instanceof KrakenError);
      assert.equal(error.code, "ERR_HOSTS");
      assert.match(
        error.message,
        /rank 1 \(127\.0\.0\.2\) could not be started: ssh ended with exit code 255: no connection/,
      );
      assert.ok(performance.now() - begun < 5000);
      await assert.rejects(pushEngine(engine, { hosts, launchAgent: host.agent(options) }), {
        code: "ERR_HOSTS",
        message: /could not be put on 127\.0\.0\.2: .*(verification failed|Permission denied|refused)/s,
      });
    });
  }

  test("nothing is left of any of them", () => noRemoteRanks());
});
