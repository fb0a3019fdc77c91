/** However a process ends, it ends at once, with its own exit code and without a crash. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { buildTiny, type ChildResult, runScript, workerPrelude } from "../helpers/child.js";

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-exit-"));
  engine = join(root, "tiny");
  await buildTiny(engine);
});
after(() => rm(root, { recursive: true, force: true }));

/** The child printed `said`, ended itself with `code`, and no native code complained. */
function ended(result: ChildResult, code: number, said: RegExp): void {
  const all = `${JSON.stringify(result, null, 1)}`;
  assert.equal(result.signal, null, all);
  assert.equal(result.code, code, all);
  assert.match(result.stdout, said, all);
  assert.doesNotMatch(result.stderr, /FATAL|terminate called|Segmentation|Assertion/, all);
}

const load =
  "const { Engine, buildEngine } = await import(library); const loaded = await Engine.load(engine);";
const begin = `${load}
const run = loaded.generate([1, 2, 3], { maxTokens: 120, ignoreEos: true });
const iterator = run[Symbol.asyncIterator]();
await iterator.next();
console.log("first token");`;

describe("a process ends", () => {
  test("at the end of the script, with an engine that is idle and not disposed", async () => {
    ended(await runScript(`${load} console.log("loaded");`, { engine }), 0, /loaded/);
  });

  test("at the end of the script, after generating, without dispose", async () => {
    const script = `${load} const { tokens } = await loaded.generate([1], { maxTokens: 9, ignoreEos: true }); console.log(tokens.length);`;
    ended(await runScript(script, { engine }), 0, /^9$/m);
  });

  test("not before a generation that nobody awaits has ended", async () => {
    const script = `${load}
loaded.generate([1], { maxTokens: 50, ignoreEos: true }).then(({ tokens }) => console.log("tokens", tokens.length));`;
    ended(await runScript(script, { engine }), 0, /tokens 50/);
  });

  test("with process.exit() in the middle of a generation", async () => {
    ended(await runScript(`${begin} process.exit(7);`, { engine }), 7, /first token/);
  });

  test("with process.exit() while many requests run", async () => {
    const script = `${begin}
for (let i = 0; i < 64; i++) loaded.generate([i + 1], { maxTokens: 100, ignoreEos: true });
setTimeout(() => process.exit(3), 5);`;
    ended(await runScript(script, { engine }), 3, /first token/);
  });

  test("with process.exit() while an engine loads, is disposed, or is built", async () => {
    ended(
      await runScript(
        `const { Engine } = await import(library); console.log("go"); Engine.load(engine, { verify: false }); setTimeout(() => process.exit(4), 2);`,
        { engine },
      ),
      4,
      /go/,
    );
    ended(await runScript(`${begin} loaded.dispose(); process.exit(5);`, { engine }), 5, /first token/);
    ended(
      await runScript(
        `const { buildEngine } = await import(library); console.log("go");
buildEngine({ random: "kraken-tiny-2way", output: engine + "-unfinished", onProgress: () => process.exit(6) });`,
        { engine },
      ),
      6,
      /go/,
    );
  });

  test("with an uncaught exception in the middle of a generation", async () => {
    const result = await runScript(`${begin} setTimeout(() => { throw new Error("thrown on purpose"); });`, {
      engine,
    });
    ended(result, 1, /first token/);
    assert.match(result.stderr, /thrown on purpose/);
  });

  test("with an exception thrown inside the loop", async () => {
    const result = await runScript(
      `${load} for await (const _ of loaded.generate([1], { maxTokens: 100 })) { console.log("first token"); throw new Error("in the loop"); }`,
      { engine },
    );
    ended(result, 1, /first token/);
    assert.match(result.stderr, /in the loop/);
  });

  test("when nobody holds the engine any more", async () => {
    const result = await runScript(
      `${load.replace("const loaded = await", "await")}
for (let i = 0; i < 20; i++) { globalThis.gc(); await new Promise((resolve) => setTimeout(resolve, 10)); }
console.log("collected");`,
      { engine, nodeOptions: ["--expose-gc"] },
    );
    ended(result, 0, /collected/);
    assert.match(result.stderr, /collected without dispose\(\)/);
  });
});

describe("a process ends with worker threads", () => {
  /** The worker says "first token", and "done" at its end; `then` is what the main thread does after the first. */
  const inWorker = (then: string) => {
    const source = `${workerPrelude}
import { parentPort } from "node:worker_threads";
${begin.replace('console.log("first token");', 'parentPort.postMessage("first token");')}
while (!(await iterator.next()).done);
parentPort.postMessage("done");`;
    return `
import { Worker } from "node:worker_threads";
const constants = \`const library = \${JSON.stringify(library)}, engine = \${JSON.stringify(engine)};\\n\`;
const worker = new Worker(constants + ${JSON.stringify(source)}, { eval: true, execArgv: ["--input-type=module"] });
worker.on("error", (error) => { console.error(error); process.exit(99); });
console.log(await new Promise((resolve) => worker.once("message", resolve)));
${then}`;
  };

  test("that are terminated in the middle of a generation", async () => {
    const script = inWorker('console.log("exit code", await worker.terminate());');
    ended(await runScript(script, { engine }), 0, /first token\nexit code 1/);
  });

  test("that still generate when the main thread calls process.exit()", async () => {
    ended(await runScript(inWorker("process.exit(8);"), { engine }), 8, /first token/);
  });

  test("that end by themselves", async () => {
    const script = inWorker(
      'worker.on("message", console.log); worker.on("exit", (code) => console.log("exit", code));',
    );
    ended(await runScript(script, { engine }), 0, /first token\ndone\nexit 0/);
  });
});
