/** Where the GPU toolchain lies, and the pinned manifest of what it is made of. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

export const root = join(here, "..", "..");
export const manifest = JSON.parse(readFileSync(join(here, "manifest.json"), "utf8"));

/** What compiling needs lies in the clone, where CMake looks for it; git ignores it. */
export const toolchain = join(root, ".toolchain");
export const cudaDirectory = join(toolchain, "cuda");
export const headersDirectory = (major) => join(toolchain, `tensorrt-${major}`);

/** What tests open lies outside: it is big, and every clone of a machine can use the same. */
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "kraken-engine", "tensorrt");
export const librariesDirectory = (major) => join(cache, manifest.tensorrtLibraries[major].release);
export const libraryPath = (major) =>
  join(librariesDirectory(major), "lib", manifest.tensorrtLibraries[major].library);
