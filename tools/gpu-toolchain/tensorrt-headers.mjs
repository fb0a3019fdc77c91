/**
 * TensorRT's headers, from a crate that carries them. cargo unpacks a crate when it is asked about it, so nothing is
 * built. It does so in a home of our own, which goes when the headers are out.
 */
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { installInto, isInstalled, runClient, ToolchainError, verifyChecksum } from "./install.mjs";
import { headersDirectory, manifest } from "./places.mjs";

/** The one folder of a registry (its name carries a hash) below cargo's `registry/<kind>`. */
function registryFolder(home, kind) {
  const parent = join(home, "registry", kind);
  const [folder] = existsSync(parent) ? readdirSync(parent) : [];
  if (!folder) throw new ToolchainError("cargo unpacked nothing: version 1.82 or newer is needed");
  return join(parent, folder);
}

/** Mirrors and credentials that the user configured hold for us too. */
function copyCargoConfig(home) {
  const from = process.env.CARGO_HOME || join(homedir(), ".cargo");
  for (const name of ["config.toml", "config", "credentials.toml"]) {
    if (existsSync(join(from, name))) copyFileSync(join(from, name), join(home, name));
  }
}

function unpackCrate(crate, cwd, home) {
  try {
    runClient("cargo", ["info", "--quiet", crate], { cwd, env: { ...process.env, CARGO_HOME: home } });
  } catch (error) {
    if (!/no such (sub)?command/.test(error.message)) throw error;
    throw new ToolchainError("cargo 1.82 or newer is needed, the one that is installed has no `cargo info`");
  }
}

export const tensorrtHeaders = (major) => {
  const entry = manifest.tensorrtHeaders[major];
  const directory = headersDirectory(major);
  const header = join(directory, "include", "NvInferVersion.h");
  return {
    title: `TensorRT ${major === "rtx" ? "for RTX " : ""}${entry.release} headers`,
    directory,
    entry,
    installed: () => isInstalled(directory, entry) && existsSync(header),
    install: () =>
      installInto(directory, entry, async (target) => {
        const home = join(target, "cargo");
        mkdirSync(home);
        copyCargoConfig(home);
        const name = `${entry.crate}-${entry.version}`;
        unpackCrate(`${entry.crate}@${entry.version}`, target, home);
        await verifyChecksum(join(registryFolder(home, "cache"), `${name}.crate`), entry.sha256, name);
        // Only this folder: the one above it has a stand-in for CUDA's own header.
        const edition = major === "rtx" ? "RTX" : "Enterprise";
        const headers = join("TensorRT-Headers", `TRT-${edition}-${entry.release}`);
        cpSync(join(registryFolder(home, "src"), name, headers), join(target, "include"), {
          recursive: true,
        });
        rmSync(home, { recursive: true });
      }),
  };
};
