/** What `npm pack` holds: what running and building need, and nothing else. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { root, tarball } from "./tarball.js";

const limit = 30 * 2 ** 20;

interface Entry {
  path: string;
  bytes: number;
  executable: boolean;
}

/** One line of tar's verbose listing: mode, owner, size, date, time, name. */
function listing(path: string): Entry[] {
  const lines = execFileSync("tar", ["-tvzf", path], { encoding: "utf8", maxBuffer: 1 << 24 })
    .trim()
    .split("\n");
  return lines.map((line) => {
    const [, mode, bytes, name] = /^(\S+)\s+\S+\s+(\d+)\s+\S+\s+\S+\s+package\/(.+)$/.exec(line)!;
    return { path: name!, bytes: Number(bytes), executable: mode!.includes("x") };
  });
}

/** What may be there: by folder, the kinds of files. */
const allowed = [
  /^(package\.json|README\.md|LICENSE|NOTICE|CMakeLists\.txt|binding\.gyp)$/,
  /^dist\/([a-z-]+\/)*[a-z0-9-]+\.(js|d\.ts)$/,
  /^dist\/server\/page\/page\.(html|css|js)$/,
  /^native\/([a-z]+\/)*[a-z0-9_-]+\.(h|cpp)$/,
  /^native\/([a-z]+\/)*CMakeLists\.txt$/,
  /^plugins\/([a-z_]+\/)*[a-z0-9_-]+\.(h|cpp|cu|cuh)$/,
  /^plugins\/([a-z_]+\/)*README\.md$/,
  /^cmake\/[a-z-]+\.cmake$/,
  /^models\/kraken-austen-2way\/(config|tokenizer|tokenizer_config)\.json$/,
  /^models\/kraken-austen-2way\/[a-zA-Z.-]+$/,
  /^prebuilds\/linux-x64\/(kraken\.glibc\.node|kraken-worker|libgomp\.so\.1)$/,
  /^prebuilds\/linux-x64\/licences\/[A-Za-z0-9-]+\.txt$/,
  /^tools\/(setup|install|build-native)\.mjs$/,
  /^tools\/gpu-toolchain\/([a-z-]+\.mjs|manifest\.json)$/,
];

describe("the packed package", () => {
  let entries: Entry[] = [];
  const paths = () => entries.map(({ path }) => path);
  before(() => {
    entries = listing(tarball());
  });

  test("holds nothing that nobody needs", () => {
    assert.deepEqual(
      paths().filter((path) => !allowed.some((pattern) => pattern.test(path))),
      [],
    );
  });

  test("holds what the program, its types, the command and a build from source need", () => {
    const needed = [
      ...[
        "package.json",
        "README.md",
        "LICENSE",
        "NOTICE",
        "CMakeLists.txt",
        "dist/index.js",
        "dist/index.d.ts",
      ],
      ...["dist/server/index.js", "dist/server/index.d.ts", "dist/server/page/page.html"],
      ...["dist/cli/main.js", "native/addon/addon.cpp", "native/worker/main.cpp", "cmake/dependencies.cmake"],
      ...["tools/install.mjs", "tools/setup.mjs", "tools/build-native.mjs", "plugins/kraken_plugins.h"],
      ...["prebuilds/linux-x64/kraken.glibc.node", "prebuilds/linux-x64/libgomp.so.1"],
      ...["gcc", "highway-LICENSE", "nlohmann-json", "node-addon-api"].map(
        (name) => `prebuilds/linux-x64/licences/${name}.txt`,
      ),
    ];
    assert.deepEqual(
      needed.filter((path) => !paths().includes(path)),
      [],
    );
    const sources = execFileSync("git", ["ls-files", "native", "cmake", "plugins", "models"], {
      cwd: root,
      encoding: "utf8",
    });
    assert.deepEqual(
      sources
        .trim()
        .split("\n")
        .filter((path) => !paths().includes(path)),
      [],
    );
    const worker = entries.find(({ path }) => path === "prebuilds/linux-x64/kraken-worker");
    assert.ok(worker?.executable, "kraken-worker can be run");
  });

  test("carries oneDNN's licence where it carries oneDNN", () => {
    const addon = join(root, "prebuilds", "linux-x64", "kraken.glibc.node");
    const script = `process.stdout.write(require(${JSON.stringify(addon)}).capabilities().backends.cpu.details.oneDNN)`;
    const version = execFileSync(process.execPath, ["-e", script], { encoding: "utf8" });
    const has = /^\d+\.\d+\.\d+$/.test(version);
    assert.ok(has || version === "not in this build", version);
    assert.equal(paths().includes("prebuilds/linux-x64/licences/onednn-LICENSE.txt"), has);
  });

  test(`is smaller than ${limit / 2 ** 20} MiB`, (context) => {
    const { size } = statSync(tarball());
    const unpacked = entries.reduce((sum, { bytes }) => sum + bytes, 0);
    const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    context.diagnostic(`${mebibytes(size)} packed, ${mebibytes(unpacked)} unpacked, ${entries.length} files`);
    assert.ok(size < limit);
  });
});
