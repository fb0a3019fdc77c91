/** The package as npm installs it: its types in a strict ESM program, the command, and every example. */
import assert from "node:assert/strict";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { emptyProject, npmInstall, root, run, tarball } from "./tarball.js";

const strict = {
  target: "ES2022",
  lib: ["ES2023", "ESNext.Disposable"],
  module: "NodeNext",
  moduleResolution: "NodeNext",
  types: ["node"],
  typeRoots: [join(root, "node_modules", "@types")],
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  verbatimModuleSyntax: true,
  skipLibCheck: false,
  noEmit: true,
  allowJs: true,
  checkJs: true,
};

describe("an installed package", () => {
  let project = "";
  before(() => {
    project = emptyProject("consumer");
    npmInstall(project, "--prefer-offline", tarball());
    cpSync(join(root, "examples"), join(project, "examples"), { recursive: true });
  });
  after(() => rmSync(dirname(project), { recursive: true, force: true }));

  test("uses the prebuilt binary: nothing was compiled", () => {
    assert.equal(existsSync(join(project, "node_modules", "kraken-engine", "build")), false);
  });

  test("has types that a strict program accepts, and that catch its mistakes", () => {
    const source = readFileSync(join(root, "test", "types", "api.ts"), "utf8");
    const imported = source.replace('"../../lib/index.js"', '"kraken-engine"');
    assert.notEqual(imported, source);
    writeFileSync(join(project, "api.ts"), imported);
    const config = { compilerOptions: strict, include: ["api.ts", "examples"] };
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
    run(project, process.execPath, tsc, "-p", ".");
    writeFileSync(join(project, "api.ts"), `${imported}\nexport const wrong: number = await build(0);\n`);
    assert.throws(() => run(project, process.execPath, tsc, "-p", "."), { stdout: /TS2345/ });
  });

  test("has the command", () => {
    const version = run(project, "npx", "--offline", "kraken", "--version").trim();
    assert.equal(
      version,
      `kraken-engine ${JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version}`,
    );
  });

  /** What each example prints, where it is the same every time. */
  const expected: Record<string, RegExp> = {
    "generate.mjs": /\w+ \w+.+\d+ \+ 64 tokens, ended by length\nfirst token after [\d.]+ ms\n$/s,
    "batch.mjs": /^([0-5]: ".*" \(\d+ of \d+ prompt tokens reused\)\n){6}\d+ tokens, \d+ a second\n$/,
    "abort.mjs":
      /^signal: rejected with TimeoutError\nloop left: cancelled, with its tokens\ncancel\(\): cancelled\n$/,
    "server.mjs": /^200: this is demo\n200: ".+", 16 tokens\n$/,
    "worker-threads.mjs": /^(worker [01]: "(My dear Jane|The weather).+"\n){2}$/,
  };
  for (const name of readdirSync(join(root, "examples")).filter((file) => file.endsWith(".mjs"))) {
    if (name === "demo-engine.mjs") continue;
    test(`runs examples/${name}`, () => {
      assert.ok(expected[name], `no expectation for examples/${name}`);
      assert.match(run(project, process.execPath, join("examples", name)), expected[name]);
    });
  }

  test("reuses prompts that begin alike", () => {
    const printed = run(project, process.execPath, join("examples", "batch.mjs"));
    const reused = [...printed.matchAll(/\((\d+) of (\d+) prompt tokens/g)].map(([, count]) => Number(count));
    assert.ok(
      reused.some((count) => count >= 64),
      printed,
    );
  });
});
