/**
 * `npm run build:prebuilt`: prebuilds/linux-x64/, which node-gyp-build finds in an installed package: the addon, kraken-worker
 * beside it, the one library that cannot be linked in, and the licences of what is. Made on Debian 12, for its glibc;
 * nothing else of this machine is needed to run the result.
 * `--without-onednn` leaves out what only processors with AMX use, and whose build takes minutes: for tests.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runClient, ToolchainError } from "../gpu-toolchain/install.mjs";
import { portabilityProblems } from "./binaries.mjs";
import { staticLibrary } from "./libraries.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const build = join(root, "build");

async function librariesFor(names) {
  const libraries = Object.fromEntries(names.map((name) => [name, staticLibrary(name)]));
  for (const [name, library] of Object.entries(libraries)) {
    if (library.installed()) continue;
    console.error(`prebuild: building ${name} ${library.release} as a static library (once)`);
    await library.install();
  }
  return libraries;
}

function run(program, args) {
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (error) throw new ToolchainError(`cannot run ${program}: ${error.message}`);
  if (status !== 0) throw new ToolchainError(`${program} failed (exit code ${status})`);
}

/** In the addon's own tree: what is compiled there already is only linked once more. */
function compile({ highway, onednn }) {
  run(process.execPath, [join(root, "tools", "build-native.mjs")]);
  const settings = {
    KRAKEN_PREBUILT_HIGHWAY: highway.directory,
    KRAKEN_PREBUILT_ONEDNN: onednn?.directory ?? "",
  };
  const defines = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
  runClient("cmake", ["-S", root, "-B", build, ...defines]);
  const targets = ["--target", "kraken_prebuilt", "kraken_prebuilt_worker"];
  run("cmake", ["--build", build, "-j", String(availableParallelism()), ...targets]);
}

/** The licences of all that is linked in or bundled, as each comes with its own text; NOTICE says what is what. */
function licencesOf(libraries) {
  const own = Object.entries(libraries).flatMap(([name, { licences }]) =>
    licences.map((file) => [`${name}-${basename(file)}.txt`, file]),
  );
  const addonApi = dirname(createRequire(import.meta.url).resolve("node-addon-api/package.json"));
  return new Map([
    ...own,
    ["gcc.txt", "/usr/share/doc/libgomp1/copyright"],
    ["nlohmann-json.txt", "/usr/share/doc/nlohmann-json3-dev/copyright"],
    ["node-addon-api.txt", join(addonApi, "LICENSE.md")],
  ]);
}

function collect(libraries, target) {
  mkdirSync(join(target, "licences"), { recursive: true });
  const binaries = {
    "kraken.glibc.node": join(build, "prebuilt", "kraken.node"),
    "kraken-worker": join(build, "prebuilt", "kraken-worker"),
    "libgomp.so.1": runClient("c++", ["-print-file-name=libgomp.so.1"]).trim(),
  };
  for (const [name, from] of Object.entries(binaries)) {
    copyFileSync(from, join(target, name));
    runClient("strip", ["--strip-unneeded", join(target, name)]);
    const problems = portabilityProblems(join(target, name), ["libgomp.so.1"]);
    if (problems.length > 0) throw new ToolchainError(`${name} is not portable: ${problems.join("; ")}`);
  }
  for (const [name, file] of licencesOf(libraries)) {
    if (!existsSync(file))
      throw new ToolchainError(`${file} was not found: prebuilt binaries carry its licence`);
    copyFileSync(file, join(target, "licences", name));
  }
}

const { values } = parseArgs({ options: { "without-onednn": { type: "boolean" } } });
try {
  if (process.platform !== "linux" || process.arch !== "x64" || existsSync("/etc/alpine-release")) {
    throw new ToolchainError("prebuilt binaries are made for linux-x64 with glibc, on such a machine");
  }
  const libraries = await librariesFor(values["without-onednn"] ? ["highway"] : ["highway", "onednn"]);
  compile(libraries);
  const target = join(root, "prebuilds", "linux-x64");
  const temporary = `${target}.partial`;
  rmSync(temporary, { recursive: true, force: true });
  collect(libraries, temporary);
  rmSync(target, { recursive: true, force: true });
  renameSync(temporary, target);
  for (const name of readdirSync(target)) {
    const { size } = statSync(join(target, name));
    console.error(`prebuild: prebuilds/linux-x64/${name} ${(size / 2 ** 20).toFixed(1)} MiB`);
  }
} catch (error) {
  if (!(error instanceof ToolchainError)) throw error;
  console.error(`prebuild: ${error.message}`);
  process.exitCode = 1;
}
