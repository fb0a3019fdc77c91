/** nvcc and what it needs, from NVIDIA's wheels. They overlay one tree, so pip must put all of them into one place. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { installInto, installWheels, isInstalled, ToolchainError } from "./install.mjs";
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
      installWheels(directory, entry.wheels);
      if (!existsSync(compiler(directory)))
        throw new ToolchainError("the wheels hold no nvcc where expected");
    }),
};
