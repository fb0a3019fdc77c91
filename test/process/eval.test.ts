/** kraken eval as people run it, on the bundled model; also killed in the middle. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { PerplexityReport } from "../../lib/eval/perplexity.js";
import type { SuperglueReport } from "../../lib/eval/superglue/evaluate.js";
import { buildEngine } from "../../lib/index.js";

const root = join(import.meta.dirname, "..", "..");
const work = mkdtempSync(join(tmpdir(), "kraken-eval-"));
after(() => rmSync(work, { recursive: true, force: true }));

const engine = join(work, "engine");
const superglue = join(root, "test", "fixtures", "superglue");
const text = join(work, "text.txt");

before(async () => {
  const { prompt } = JSON.parse(readFileSync(join(root, "models/kraken-austen-2way/expected.json"), "utf8"));
  writeFileSync(text, `${prompt}\n`.repeat(4));
  await buildEngine({
    checkpoint: join(root, "models/kraken-austen-2way"),
    output: engine,
    dtype: "float32",
  });
});

function start(...args: string[]): {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
} {
  const child = spawn(process.execPath, ["--import", "tsx", join("lib", "cli", "main.ts"), "eval", ...args], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]!.setEncoding("utf8").on("data", (data) => {
      output[name] += data;
    });
  }
  return { child, ended: once(child, "close").then(([code]) => ({ code, ...output })) };
}

const evaluate = (...args: string[]) => start(...args).ended;

describe("perplexity", () => {
  test("as a table", async () => {
    const { code, stdout, stderr } = await evaluate(
      "perplexity",
      engine,
      text,
      "--context",
      "32",
      "--batch",
      "2",
    );
    assert.equal(code, 0, stderr);
    assert.equal(stderr, "");
    assert.match(
      stdout,
      /^text +perplexity +nats\/token +bits\/byte +tokens +scored +bytes\n.*text\.txt +\d+/,
    );
    assert.match(stdout, /\n\d+ windows of 32 tokens, stride 16\n$/);
  });

  test("killed, it goes on from its journal and comes to the same", async () => {
    const args = ["perplexity", engine, text, "--context", "64", "--stride", "1", "--json"];
    const whole = await evaluate(...args);
    const expected: PerplexityReport = JSON.parse(whole.stdout);
    const output = join(work, "perplexity.json");
    const journal = `${output}.journal`;
    const { child, ended } = start(...args, "--output", output);
    const poll = setInterval(() => {
      if (existsSync(journal) && readFileSync(journal, "utf8").split("\n").length > 20) child.kill("SIGKILL");
    }, 5);
    const killed = await ended;
    clearInterval(poll);
    assert.equal(killed.code, null, "it ended before it could be killed");
    assert.ok(!existsSync(output));
    const done = readFileSync(journal, "utf8").split("\n").length;
    assert.ok(done < expected.windows, `${done} of ${expected.windows} were done`);

    const { code, stdout } = await evaluate(...args, "--output", output);
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout), expected);
    assert.deepEqual(JSON.parse(readFileSync(output, "utf8")), expected);
    assert.ok(!existsSync(journal));
    const again = await evaluate(...args, "--output", output);
    assert.equal(again.code, 2);
    assert.match(JSON.parse(again.stdout).error.message, /exists already.*--force/);
  });

  test("Ctrl-C ends it with the usual exit code", async () => {
    const { child, ended } = start(
      "perplexity",
      engine,
      text,
      "--stride",
      "1",
      "--output",
      join(work, "i.json"),
    );
    const poll = setInterval(() => {
      if (!existsSync(join(work, "i.json.journal"))) return;
      child.kill("SIGINT");
      clearInterval(poll);
    }, 5);
    const { code, stderr } = await ended;
    clearInterval(poll);
    assert.equal(code, 130);
    assert.equal(stderr, "interrupted (SIGINT)\n");
  });
});

describe("superglue", () => {
  test("all tasks, with shots, as a document", async () => {
    const { code, stdout, stderr } = await evaluate("superglue", engine, superglue, "--shots", "1", "--json");
    assert.equal(code, 0, stderr);
    const { tasks, shots, seed }: SuperglueReport = JSON.parse(stdout);
    assert.deepEqual([shots, seed], [1, 1234]);
    assert.deepEqual(
      tasks.map(({ task, examples }) => `${task} ${examples}`),
      ["boolq 3", "cb 4", "copa 2", "multirc 7", "record 3", "rte 3", "wic 2", "wsc 3"],
    );
    for (const { metrics } of tasks) {
      for (const { value, stderr } of Object.values(metrics))
        assert.ok(value >= 0 && value <= 1 && stderr >= 0);
    }
  });

  test("as a table, with what was cut", async () => {
    const args = ["superglue", engine, superglue, "--tasks", "cb,boolq", "--max-sequence-length", "30"];
    const { code, stdout, stderr } = await evaluate(...args);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^task +metric +value +std error +examples\ncb +acc +\d+\.\d\d % .*\ncb +f1 .*\nboolq +acc /,
    );
    assert.match(
      stdout,
      /\nzero-shot\nprompts cut at their beginning to fit the context: .*boolq: 3 of 3\n$/,
    );
  });

  test("what is wrong with the files or the command line", async () => {
    const none = await evaluate("superglue", engine, work, "--tasks", "rte", "--json");
    assert.equal(none.code, 1);
    assert.equal(JSON.parse(none.stdout).error.code, "ERR_IO");
    const task = await evaluate("superglue", engine, superglue, "--tasks", "wick");
    assert.equal(task.code, 2);
    assert.match(task.stderr, /--tasks: there is no task "wick"; did you mean wic\?\ncode: ERR_OPTION/);
    const nowhere = await evaluate("superglue", engine);
    assert.equal(nowhere.code, 2);
    assert.match(nowhere.stderr, /where are SuperGLUE's files\?/);
  });
});
