/** What the command line accepts, what it says otherwise, and with which exit code. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../lib/errors.js";
import { presetNames } from "../../lib/presets.js";
import { fakeEngine, kraken } from "./cli-harness.js";

const commands = ["build", "generate", "serve", "score", "eval", "inspect", "plan", "bench", "doctor"];

describe("help and version", () => {
  test("--help lists the commands and the exit codes", async () => {
    const { code, stdout, stderr } = await kraken(["--help"]);
    assert.equal(code, 0);
    assert.equal(stderr, "");
    for (const command of commands) assert.match(stdout, new RegExp(`^  ${command} `, "m"));
    assert.match(stdout, /Exit codes:\n {2}0 +done\n {2}1 +.*\n {2}2 +.*\n {2}130 +/);
  });

  for (const command of commands) {
    test(`${command} --help and help ${command} agree and are not wider than a terminal`, async () => {
      const { code, stdout } = await kraken([command, "--help"]);
      assert.equal(code, 0);
      assert.equal((await kraken(["help", command])).stdout, stdout);
      assert.match(stdout, new RegExp(`^Usage: kraken ${command}`));
      assert.ok(Math.max(...stdout.split("\n").map((line) => line.length)) <= 120);
    });
  }

  test("the help of build names every preset, and none that is not", async () => {
    const { stdout } = await kraken(["build", "--help"]);
    const listed = stdout.slice(stdout.indexOf("Presets:")).match(/[a-z0-9]+(-[a-z0-9]+)+/g);
    assert.deepEqual(listed?.sort(), [...presetNames].sort());
  });

  test("help does not load the library", async () => {
    const library = new Proxy({}, { ownKeys: () => [], get: () => assert.fail("loaded") });
    assert.equal((await kraken(["generate", "--help"], { library })).code, 0);
  });

  test("--version", async () => {
    const { code, stdout } = await kraken(["--version"]);
    assert.equal(code, 0);
    assert.match(stdout, /^kraken-engine \d+\.\d+\.\d+\n$/);
  });

  test("no arguments: the help, on stderr, as a usage error", async () => {
    const { code, stdout, stderr } = await kraken([]);
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.match(stderr, /^Usage: kraken/);
  });
});

describe("usage errors", () => {
  const cases: [name: string, args: string[], message: RegExp][] = [
    ["a misspelt command", ["biuld"], /unknown command 'biuld'\n\(Did you mean build\?\)/],
    ["a misspelt command with --help", ["genrate", "--help"], /Did you mean generate/],
    ["help for a misspelt command", ["help", "scroe"], /Did you mean score/],
    [
      "a misspelt option",
      ["build", "x", "--rnaks", "2"],
      /unknown option '--rnaks'\n\(Did you mean --ranks\?\)/,
    ],
    ["a misspelt dtype", ["build", "x", "--dtype", "bfloat61"], /Did you mean bfloat16/],
    ["a misspelt backend", ["build", "x", "--backend", "tensort"], /Did you mean tensorrt/],
    ["a rank count that is no number", ["build", "x", "--ranks", "two"], /whole number/],
    ["a temperature that is no number", ["generate", "x", "--temperature", "warm"], /must be a number/],
    ["an empty number", ["generate", "x", "--temperature", ""], /must be a number/],
    ["a token that is no number", ["score", "x", "--tokens", "1,b"], /"b" is not a token id/],
    ["a negative seed", ["generate", "x", "--seed", "-1"], /at least 0/],
    ["no checkpoint", ["build", "--output", "y"], /give a checkpoint, or --random/],
    ["a checkpoint and a preset", ["build", "x", "--random", "y", "--output", "z"], /contradict each other/],
    ["a checkpoint twice", ["build", "x", "--checkpoint_dir", "y", "--output", "z"], /twice/],
    ["no output", ["build", "x"], /--output is missing/],
    [
      "a preset and an architecture",
      ["build", "--random", "x", "--architecture", "gpt"],
      /cannot be used with/,
    ],
    ["no engine", ["generate", "--prompt", "x"], /which engine\?/],
    ["an engine twice", ["generate", "x", "--engine_dir", "y", "--prompt", "z"], /twice/],
    ["prompt and tokens", ["generate", "x", "--prompt", "y", "--tokens", "1"], /cannot be used with/],
    ["no prompt on a terminal", ["generate", "x"], /no prompt/],
    ["text and file", ["score", "x", "--text", "y", "--file", "z"], /cannot be used with/],
    ["nothing to score on a terminal", ["score", "x"], /nothing to score/],
    ["nothing to inspect", ["inspect"], /nothing to inspect/],
    ["a path and a preset to inspect", ["inspect", "x", "--random", "y"], /contradict each other/],
    ["too many arguments", ["generate", "x", "y", "--prompt", "z"], /too many arguments/],
  ];
  for (const [name, args, message] of cases) {
    test(name, async () => {
      const text = await kraken(args);
      assert.equal(text.code, 2);
      assert.equal(text.stdout, "");
      assert.match(text.stderr, message);
      assert.match(text.stderr, /^error: /);
      assert.match(text.stderr, /^code: ERR_USAGE\nsee kraken.* --help\n$/m);

      const json = await kraken([...args, "--json"]);
      assert.equal(json.code, 2);
      assert.equal(json.stderr, "");
      const document = JSON.parse(json.stdout);
      assert.deepEqual(Object.keys(document), ["error"]);
      assert.equal(document.error.code, "ERR_USAGE");
      assert.match(document.error.message, message);
    });
  }

  test("a value from the environment is checked, and named", async (t) => {
    process.env.KRAKEN_TOP_K = "many";
    t.after(() => delete process.env.KRAKEN_TOP_K);
    const { code, stderr } = await kraken(["generate", "x", "--prompt", "y"]);
    assert.equal(code, 2);
    assert.match(stderr, /from env 'KRAKEN_TOP_K' is invalid/);
  });
});

describe("failures", () => {
  const full = new RuntimeError("ERR_OUT_OF_MEMORY", "not enough memory");

  test("message and code, never a stack", async () => {
    const { library } = fakeEngine({ loadError: full });
    const { code, stdout, stderr } = await kraken(["generate", "x", "--prompt", "y"], { library });
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.equal(stderr, "error: not enough memory\ncode: ERR_OUT_OF_MEMORY\n");
  });

  test("KRAKEN_DEBUG=1 adds the stack", async (t) => {
    process.env.KRAKEN_DEBUG = "1";
    t.after(() => delete process.env.KRAKEN_DEBUG);
    const { library } = fakeEngine({ loadError: full });
    const { stderr } = await kraken(["generate", "x", "--prompt", "y"], { library });
    assert.match(stderr, /\n {4}at /);
  });

  test("--json: one document with code and message, and nothing else", async () => {
    const { library } = fakeEngine({ loadError: full });
    const { code, stdout, stderr } = await kraken(["generate", "x", "--prompt", "y", "--json"], { library });
    assert.equal(code, 1);
    assert.equal(stderr, "");
    assert.deepEqual(JSON.parse(stdout), {
      error: { code: "ERR_OUT_OF_MEMORY", message: "not enough memory" },
    });
  });

  test("a bug asks for a report", async () => {
    const { library } = fakeEngine({ loadError: new TypeError("x is not a function") });
    const { code, stderr } = await kraken(["generate", "x", "--prompt", "y"], { library });
    assert.equal(code, 1);
    assert.match(stderr, /^error: x is not a function\ncode: ERR_INTERNAL\n.*kraken doctor/);
  });
});
