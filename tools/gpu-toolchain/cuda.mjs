/** nvcc and what it needs, from NVIDIA's wheels. They overlay one tree, so pip must put all of them into one place. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { installInto, isInstalled, runClient, ToolchainError } from "./install.mjs";
import { cudaDirectory, manifest } from "./places.mjs";

const entry = manifest.cuda;
const compiler = (directory) => join(directory, "nvidia", "cu13", "bin", "nvcc");

export const cuda = {
  title: `CUDA compiler ${entry.release}`,
  directory: cudaDirectory,
  entry,
  installed: () => isInstalled(cudaDirectory, entry) && existsSync(compiler(cudaDirectory)),
  install: () =>
    installInto(cudaDirectory, entry, async (directory) => {
      const requirements = join(directory, "requirements.txt");
      const lines = entry.wheels.map(
        ({ name, version, sha256 }) => `${name}==${version} --hash=sha256:${sha256}`,
      );
      writeFileSync(requirements, `${lines.join("\n")}\n`);
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
      const exact = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-compile"];
      runClient("python3", [...pip, ...exact, "--target", directory, "--requirement", requirements]);
      if (!existsSync(compiler(directory)))
        throw new ToolchainError("the wheels hold no nvcc where expected");
    }),
};
