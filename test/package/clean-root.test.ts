/**
 * `npm install kraken-engine-*.tgz && npx kraken generate …` where there is Node and nothing else: no compiler, no library,
 * no network. And what is said where no prebuilt binary fits.
 */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { glibcOfRoot, inRoot, makeRoot, obstacle, place } from "./clean-root.js";
import { emptyProject, npmInstall, run, tarball, tarballName } from "./tarball.js";

const reason = obstacle();
if (reason) console.error(`test: installation in a clean root skipped, ${reason}`);

/** Kept with the root. */
const cache = "/var/cache/kraken-npm";
const model = "node_modules/kraken-engine/models/kraken-austen-2way";
const build = `kraken build ${model} --output engine --ranks 2 --dtype float32`;
const generate = 'kraken generate engine --prompt "My dear" --max-tokens 24 --temperature 0 --json';

describe("a root without compilers", { skip: reason || false }, () => {
  const project = `/srv/project-${process.pid}`;
  const outside = join(place, project);
  let expected = "";

  before(() => {
    makeRoot();
    // The host installs first, so that npm's cache holds the dependencies: inside there is no network.
    const host = emptyProject("host");
    mkdirSync(outside, { recursive: true });
    npmInstall(host, "--prefer-offline", "--cache", join(place, cache), tarball());
    run(host, "npx", "--offline", ...build.split(" "));
    const shell = ["-c", `npx --offline ${generate}`];
    expected = JSON.parse(run(host, "sh", ...shell)).text;
    rmSync(join(host, ".."), { recursive: true, force: true });
    copyFileSync(tarball(), join(outside, tarballName()));
    writeFileSync(
      join(outside, "package.json"),
      '{ "name": "clean", "version": "1.0.0", "private": true }\n',
    );
  });
  after(() => rmSync(outside, { recursive: true, force: true }));

  /** Fails with what the script said. */
  const inside = (script: string, env?: Record<string, string>) => {
    const { status, stdout, stderr } = inRoot(project, script, env);
    assert.equal(status, 0, `${script}\n${stdout}${stderr}`);
    return stdout;
  };

  test("has no compiler and no network", (context) => {
    context.diagnostic(`Debian, glibc ${glibcOfRoot()}, Node ${process.version}`);
    const { stdout } = inRoot(
      "/",
      "for it in cc c++ gcc g++ clang make cmake ninja python3; do which $it || :; done",
    );
    assert.equal(stdout, "");
    assert.equal(inside("cat /proc/net/route | tail -n +2"), "");
  });

  test("installs the package, which builds and runs an engine", () => {
    const offline = `--offline --no-audit --no-fund --cache ${cache}`;
    inside(`npm install ${offline} ./${tarballName()}`, {
      npm_config_registry: run(".", "npm", "config", "get", "registry").trim(),
    });
    inside(`npx ${offline} ${build}`);
    assert.equal(JSON.parse(inside(`npx ${offline} ${generate}`)).text, expected);
    assert.ok(expected.length > 24);
  });

  test("runs kraken-worker", () => {
    const { text } = JSON.parse(
      inside(`node node_modules/kraken-engine/dist/cli/main.js ${generate.slice(7)} --isolation process`),
    );
    assert.equal(text, expected);
  });

  test("says what is missing where no prebuilt binary fits", () => {
    const script = "cd node_modules/kraken-engine && rm -rf prebuilds && node tools/install.mjs";
    const { status, stderr } = inRoot(project, script);
    assert.equal(status, 1);
    assert.match(stderr, /no prebuilt binary runs here; building from source/);
    assert.match(stderr, /missing C\+\+ compiler, cmake, ninja, oneDNN, Highway, nlohmann-json\n/);
    assert.match(
      stderr,
      /apt-get install -y g\+\+ cmake ninja-build libdnnl-dev libhwy-dev nlohmann-json3-dev\n/,
    );
  });
});
