/**
 * Makes a fresh clone ready: checks for what is missing, installs it with apt-get where it may, otherwise prints the
 * one line to run and stops; then npm ci and the native build. Node built-ins only, because nothing is installed yet.
 * A stamp over all inputs makes the second run a matter of milliseconds.
 * `--package`: for npm's install script, which only builds: no npm ci, no tests, and no apt-get behind anyone's back.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const stampFile = join(root, "build", ".setup-stamp");
const asPackage = process.argv.includes("--package");

const major = Number(process.versions.node.split(".")[0]);
if (major < 20) fail(`Node ${process.versions.node} is too old: kraken-engine needs Node 20.17 or newer.`);

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}

/** Files whose change calls for another set-up: sizes and times are enough, contents would cost time. */
function inputs() {
  const hash = createHash("sha256");
  const add = (path) => {
    const info = statSync(path, { throwIfNoEntry: false });
    if (!info) return;
    if (info.isDirectory()) {
      for (const name of readdirSync(path).sort()) add(join(path, name));
    } else {
      hash.update(`${relative(root, path)}\0${info.size}\0${info.mtimeMs}\n`);
    }
  };
  for (const name of ["package.json", "package-lock.json", "CMakeLists.txt", "cmake", "native", "plugins"]) {
    add(join(root, name));
  }
  add(join(root, "tools", "setup.mjs"));
  for (const part of ["cuda", "tensorrt-10", "tensorrt-11"]) add(join(root, ".toolchain", part, ".stamp"));
  hash.update(process.version);
  return hash.digest("hex");
}

function ready() {
  return (
    ["kraken.node", "kraken-worker"].every((name) => existsSync(join(root, "build", "Release", name))) &&
    (asPackage || existsSync(join(root, "node_modules", "tsx"))) &&
    existsSync(stampFile) &&
    readFileSync(stampFile, "utf8") === inputs()
  );
}

const header = (name) => () =>
  ["/usr/include", "/usr/local/include", "/opt/homebrew/include"].some((dir) =>
    existsSync(join(dir, name)),
  ) ||
  (process.env.CMAKE_PREFIX_PATH ?? "")
    .split(":")
    .some((dir) => dir !== "" && existsSync(join(dir, "include", name)));
const command = (name) => () => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0;

/** What the build needs, how to see that it is there, and what each package manager calls it. */
const requirements = [
  { what: "C++ compiler", found: command("c++"), apt: "g++", dnf: "gcc-c++", brew: "llvm" },
  { what: "cmake", found: command("cmake"), apt: "cmake", dnf: "cmake", brew: "cmake" },
  { what: "ninja", found: command("ninja"), apt: "ninja-build", dnf: "ninja-build", brew: "ninja" },
  { what: "oneDNN", found: header("dnnl.hpp"), apt: "libdnnl-dev", dnf: "onednn-devel", brew: "onednn" },
  {
    what: "Highway",
    found: header("hwy/highway.h"),
    apt: "libhwy-dev",
    dnf: "highway-devel",
    brew: "highway",
  },
  {
    what: "nlohmann-json",
    found: header("nlohmann/json.hpp"),
    apt: "nlohmann-json3-dev",
    dnf: "json-devel",
    brew: "nlohmann-json",
  },
  {
    what: "GoogleTest",
    found: header("gtest/gtest.h"),
    apt: "libgtest-dev",
    dnf: "gtest-devel",
    brew: "googletest",
    forTests: true,
  },
].filter(({ forTests }) => !(forTests && asPackage));

function installMissing() {
  const missing = requirements.filter((requirement) => !requirement.found());
  if (missing.length === 0) return;
  console.error(`setup: missing ${missing.map((requirement) => requirement.what).join(", ")}`);
  const apt = missing.map((requirement) => requirement.apt).join(" ");
  const isRoot = process.getuid?.() === 0;
  if (command("apt-get")() && isRoot && !asPackage) {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const packages = apt.split(" ");
    console.error(`setup: apt-get install ${apt}`);
    const install = () =>
      spawnSync("apt-get", ["install", "-y", "--no-install-recommends", ...packages], {
        stdio: ["ignore", "ignore", "inherit"],
        env,
      });
    spawnSync("apt-get", ["update"], { stdio: "ignore", env });
    if (install().status !== 0) fail(`apt-get install failed; run it by hand: apt-get install ${apt}`);
    const still = requirements.filter((requirement) => !requirement.found());
    if (still.length > 0)
      fail(`still missing after apt-get: ${still.map((requirement) => requirement.what).join(", ")}`);
    return;
  }
  const lines = [
    command("apt-get")() && `sudo apt-get install -y ${apt}`,
    command("dnf")() && `sudo dnf install ${missing.map((requirement) => requirement.dnf).join(" ")}`,
    command("brew")() && `brew install ${missing.map((requirement) => requirement.brew).join(" ")}`,
  ].filter(Boolean);
  fail(`run this, then try again:\n  ${lines[0] ?? `install ${missing.map((r) => r.what).join(", ")}`}`);
}

function step(title, program, args) {
  console.error(`setup: ${title}`);
  const result = spawnSync(program, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (result.status !== 0) fail(`${title} failed (exit code ${result.status ?? result.signal})`);
}

function installPackages() {
  const lock = join(root, "package-lock.json");
  const installed = join(root, "node_modules", ".package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  // --ignore-scripts: the install script would build the addon a second time.
  step("npm ci", "npm", ["ci", "--ignore-scripts"]);
}

if (!ready()) {
  installMissing();
  if (!asPackage) installPackages();
  step("building native code", process.execPath, [join(root, "tools", "build-native.mjs")]);
  mkdirSync(dirname(stampFile), { recursive: true });
  writeFileSync(stampFile, inputs());
}
