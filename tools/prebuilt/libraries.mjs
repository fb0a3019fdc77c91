/**
 * The libraries a prebuilt binary is linked with, as static archives: sources that Debian carries, brought by apt-get from
 * whatever mirror the machine is set up for, checked, and built with nothing in them but what the engine calls. They lie
 * outside the clone, so that every clone of a machine can use the same.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  installInto,
  isInstalled,
  runClient,
  ToolchainError,
  verifyChecksum,
} from "../gpu-toolchain/install.mjs";

const manifest = JSON.parse(
  readFileSync(join(dirname(fileURLToPath(import.meta.url)), "manifest.json"), "utf8"),
);
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "kraken-engine", "static");
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** The Debian mirror that the machine's own lists name. */
function mirror() {
  const format = "$(ORIGIN) $(REPO_URI)";
  const targets = runClient("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
  const uri = targets.split("\n").find((line) => line.startsWith("Debian ") && !line.includes("security"));
  if (!uri) throw new ToolchainError("apt-get knows no Debian mirror: prebuilt binaries are made on Debian");
  return uri.slice("Debian ".length);
}

/** Lists of its own, so that the machine's stay as they are. */
async function fetchSource({ source, version, suite, archive, sha256 }, directory) {
  mkdirSync(join(directory, "lists", "partial"), { recursive: true });
  const list = join(directory, "sources.list");
  writeFileSync(list, `deb-src [signed-by=${keyring}] ${mirror()} ${suite} main\n`);
  const settings = [
    `Dir::Etc::sourcelist=${list}`,
    "Dir::Etc::sourceparts=-",
    `Dir::State::lists=${join(directory, "lists")}`,
    "APT::Sandbox::User=root",
  ].flatMap((setting) => ["-o", setting]);
  runClient("apt-get", [...settings, "update"]);
  runClient("apt-get", [...settings, "source", "--download-only", `${source}=${version}`], {
    cwd: directory,
  });
  await verifyChecksum(join(directory, archive), sha256, archive);
  const sources = join(directory, "source");
  mkdirSync(sources);
  runClient("tar", ["-xf", join(directory, archive), "-C", sources, "--strip-components=1"]);
  return sources;
}

/** Includes, static archive and licences below `target`. */
function compile({ settings, licences }, sources, build, target) {
  const defines = Object.entries({
    CMAKE_BUILD_TYPE: "Release",
    CMAKE_INSTALL_PREFIX: target,
    CMAKE_INSTALL_LIBDIR: "lib",
    CMAKE_POSITION_INDEPENDENT_CODE: "ON",
    CMAKE_CXX_FLAGS: "-ffunction-sections -fdata-sections",
    ...settings,
  }).map(([name, value]) => `-D${name}=${value}`);
  runClient("cmake", ["-S", sources, "-B", build, "-G", "Ninja", ...defines]);
  runClient("cmake", ["--build", build, "--target", "install"]);
  for (const name of licences) cpSync(join(sources, name), join(target, "licences", name));
}

/** `name`: "highway" or "onednn". */
export function staticLibrary(name) {
  const entry = manifest[name];
  const directory = join(cache, `${name}-${entry.release}`);
  return {
    directory,
    release: entry.release,
    licences: entry.licences.map((file) => join(directory, "licences", file)),
    installed: () => isInstalled(directory, entry) && existsSync(join(directory, "lib")),
    install: () =>
      installInto(directory, entry, async (target) => {
        const work = join(target, "work");
        const sources = await fetchSource(entry, work);
        compile(entry, sources, join(work, "build"), target);
        rmSync(work, { recursive: true });
      }),
  };
}
