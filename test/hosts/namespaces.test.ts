/** Engines on several hosts with a network between them: `npm run test:hosts`. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { buildEngine, Engine, type LoadOptions } from "../../lib/index.js";
import { library } from "../helpers/child.js";
import { Namespaces } from "../helpers/namespaces.js";
import { noRemoteRanks } from "../helpers/ranks.js";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const impostor = fileURLToPath(new URL("../helpers/impostor.mjs", import.meta.url));

let root: string;
const engines = new Map<number, string>();
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-test-hosts-"));
  for (const ranks of [2, 4]) {
    const output = join(root, `ranks${ranks}`);
    await buildEngine({ random: `kraken-tiny-${ranks}way`, output, ranks, dtype: "float32" });
    engines.set(ranks, output);
  }
});
after(() => rm(root, { recursive: true, force: true }));

/** Runs an ES module on the first host; `library`, `engine` and `options` are constants in it. It prints JSON lines. */
class Script {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #stderr = "";

  constructor(net: Namespaces, engine: string, options: LoadOptions, source: string) {
    const given = { hosts: net.addresses, launchAgent: net.agent, threadsPerRank: 1, ...options };
    const constants = { library, engine, options: given };
    const head = Object.entries(constants).map(
      ([name, value]) => `const ${name} = ${JSON.stringify(value)};`,
    );
    const prelude =
      "const { Engine } = await import(library); const say = (x) => console.log(JSON.stringify(x));";
    const module = [...head, prelude, source].join("\n");
    const [command, ...args] = [...net.on(0), process.execPath, "--import", "tsx"];
    this.child = spawn(command!, [...args, "--input-type=module", "--eval", module], {
      cwd: repository,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 60_000,
      killSignal: "SIGKILL",
    });
    this.child.stderr!.on("data", (data) => {
      this.#stderr += data;
    });
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async next<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    assert.ok(!done, `it ended: ${this.#stderr}`);
    return JSON.parse(value);
  }

  async ended(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, "exit");
    return this.child.exitCode;
  }
}

const run = { maxTokens: 60, temperature: 0, ignoreEos: true, seed: 1 };
const prompt = Array.from({ length: 40 }, (_, i) => (i * 7) % 250);

for (const count of [2, 4]) {
  describe(`${count} hosts`, () => {
    let net: Namespaces;
    before(() => {
      net = new Namespaces({ count });
    });
    after(() => net[Symbol.dispose]());

    test("generate the same text as one process", async () => {
      const engine = engines.get(count)!;
      await using here = await Engine.load(engine);
      const expected = await here.generate(prompt, run);
      const script = new Script(
        net,
        engine,
        {},
        `const loaded = await Engine.load(engine, options);
         say((await loaded.generate(${JSON.stringify(prompt)}, ${JSON.stringify(run)})).tokens);
         await loaded.dispose();`,
      );
      assert.deepEqual(await script.next(), expected.tokens);
      assert.equal(await script.ended(), 0);
      await noRemoteRanks();
    });

    test("a host that vanishes in mid-prefill is an error within 2 s, and nothing stays", async (t) => {
      // So slow that a prefill takes seconds.
      for (let host = 0; host < count; host++) net.limit(host, "2mbit");
      try {
        const script = new Script(
          net,
          engines.get(count)!,
          { prefixReuse: false },
          `const loaded = await Engine.load(engine, options);
           const runs = Array.from({ length: 8 }, (_, i) =>
             loaded.generate(Array.from({ length: 120 }, (_, j) => (i + j) % 250), { maxTokens: 1, temperature: 0 }));
           say("begun");
           const outcomes = await Promise.allSettled(runs);
           say(outcomes.map(({ reason }) => reason ? reason.code + ": " + reason.message : "done"));
           await loaded.dispose();`,
        );
        assert.equal(await script.next(), "begun");
        await new Promise((resolve) => setTimeout(resolve, 150));
        net.down(count - 1);
        const from = performance.now();
        // The first may have been done by then.
        const outcomes = (await script.next<string[]>()).slice(3);
        const took = performance.now() - from;
        t.diagnostic(`${took.toFixed(0)} ms after the interface went down: ${outcomes[0]}`);
        assert.ok(took < 2000, `${took} ms`);
        assert.ok(
          outcomes.every((outcome) => outcome.startsWith("ERR_RANK_LOST: ")),
          outcomes.join("\n"),
        );
        assert.match(
          outcomes[0]!,
          new RegExp(`rank ${count - 1} \\(10\\.77\\.0\\.${count}:\\d+\\).* no sign of life`),
        );
        assert.equal(await script.ended(), 0);
        await noRemoteRanks(4000);
      } finally {
        net.up(count - 1);
        for (let host = 0; host < count; host++) net.limit(host, "10gbit");
      }
    });

    const secret = "correct horse battery staple";
    const failing: [string, () => LoadOptions | Promise<LoadOptions>, string, RegExp][] = [
      [
        "another secret",
        () => ({ secret, launchAgent: net.writeAgent("secret", 'echo "a quite different one" | exec "$@"') }),
        "ERR_HOSTS",
        /a connection from 10\.77\.0\.\d does not know the secret/,
      ],
      [
        "another version",
        () => ({
          launchAgent: net.writeAgent("old", `shift; exec ${process.execPath} ${impostor} --build old "$@"`),
        }),
        "ERR_NATIVE_LOAD",
        /rank \d \(10\.77\.0\.\d:1\): .*different builds/,
      ],
      [
        "another engine",
        async () => {
          const other = join(root, `other${count}`);
          await mkdir(other);
          const random = `kraken-tiny-${count}way`;
          await buildEngine({
            random,
            seed: 9,
            output: join(other, "engine"),
            ranks: count,
            dtype: "float32",
          });
          return { launchAgent: net.writeAgent("elsewhere", `cd ${other} && exec "$@"`) };
        },
        "ERR_ENGINE_CORRUPT",
        /rank \d .* is another engine than rank 0's/,
      ],
      [
        "a host that does not answer",
        () => {
          net.down(count - 1);
          return { startTimeout: 1.5 };
        },
        "ERR_HOSTS",
        new RegExp(
          `rank ${count - 1} \\(10\\.77\\.0\\.${count}\\) has not connected to 10\\.77\\.0\\.1:\\d+ within 1500 ms`,
        ),
      ],
    ];
    for (const [what, options, code, message] of failing) {
      test(`${what}: ${code}`, async () => {
        try {
          const from = join(root, `own${count}`);
          await mkdir(from, { recursive: true });
          const script = new Script(
            net,
            "/proc/self/cwd/engine",
            await options(),
            `const { cpSync, existsSync } = await import("node:fs");
             if (!existsSync("${from}/engine")) cpSync("${engines.get(count)}", "${from}/engine", { recursive: true });
             process.chdir("${from}");
             const begun = performance.now();
             await Engine.load(engine, options).then(
               () => say("loaded"),
               ({ code, message }) => say([code, message, performance.now() - begun]));`,
          );
          const [got, said, ms] = await script.next<[string, string, number]>();
          assert.equal(got, code, said);
          assert.match(said, message);
          assert.ok(ms < 4000, `${ms} ms`);
          await script.ended();
          await noRemoteRanks(18_000);
        } finally {
          net.up(count - 1);
        }
      });
    }
  });
}
