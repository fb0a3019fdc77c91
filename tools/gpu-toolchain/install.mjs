/**
 * What every part of the toolchain has in common. A part is installed in a temporary sibling and renamed when it is
 * complete, so a folder that exists is whole; a stamp of its manifest entry says when it must be installed anew.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";

export class ToolchainError extends Error {}

const stampOf = (entry) => createHash("sha256").update(JSON.stringify(entry)).digest("hex");

export function isInstalled(directory, entry) {
  const stamp = join(directory, ".stamp");
  return existsSync(stamp) && readFileSync(stamp, "utf8") === stampOf(entry);
}

/** Calls `fill(temporary)` and moves what it made into place. */
export async function installInto(directory, entry, fill) {
  const temporary = `${directory}.partial-${process.pid}`;
  mkdirSync(dirname(directory), { recursive: true });
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary);
  try {
    await fill(temporary);
    writeFileSync(join(temporary, ".stamp"), stampOf(entry));
    rmSync(directory, { recursive: true, force: true });
    renameSync(temporary, directory);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Runs a registry's client; its output matters only when it fails. */
export function runClient(program, args, options = {}) {
  const result = spawnSync(program, args, { encoding: "utf8", maxBuffer: 1 << 26, ...options });
  if (result.error?.code === "ENOENT") {
    throw new ToolchainError(
      `${program} was not found: install it (${installHints[program]}), then try again`,
    );
  }
  if (result.error) throw new ToolchainError(`cannot run ${program}: ${result.error.message}`);
  if (result.status !== 0) {
    const last = `${result.stdout}${result.stderr}`.trim().split("\n").slice(-15).join("\n");
    throw new ToolchainError(`${program} failed (exit code ${result.status ?? result.signal}):\n${last}`);
  }
  return result.stdout;
}

/** Exactly these wheels, into a folder that is no Python's. */
export function installWheels(directory, wheels) {
  const requirements = join(directory, "requirements.txt");
  const lines = wheels.map(({ name, version, sha256 }) => `${name}==${version} --hash=sha256:${sha256}`);
  writeFileSync(requirements, `${lines.join("\n")}\n`);
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
  const exact = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-compile"];
  runClient("python3", [...pip, ...exact, "--target", directory, "--requirement", requirements]);
}

const installHints = {
  python3: "apt-get install python3 python3-pip",
  cargo: "apt-get install cargo, 1.82 or newer, or rustup",
  mvn: "apt-get install maven",
};

export async function verifyChecksum(path, expected, what) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  const actual = hash.digest("hex");
  if (actual !== expected) {
    throw new ToolchainError(
      `${what} has SHA-256 ${actual}, expected ${expected}: the registry served something else than what was pinned`,
    );
  }
}
