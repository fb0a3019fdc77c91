/**
 * Open MPI, with which tests start ranks as TensorRT-LLM does. Without it they say that they are skipped, so it is
 * installed where that goes by itself (as root, with apt-get), and nobody is stopped where it doesn't.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

const runs = (name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0;

/** Debian's is /usr/lib/<processor>/openmpi/include/mpi.h. */
function hasHeader() {
  const folders = existsSync("/usr/lib") ? readdirSync("/usr/lib") : [];
  return (
    existsSync("/usr/include/mpi.h") ||
    folders.some((name) => existsSync(join("/usr/lib", name, "openmpi", "include", "mpi.h")))
  );
}

export function installOpenMpi() {
  if ((runs("mpirun") && hasHeader()) || process.platform !== "linux") return;
  if (process.getuid?.() !== 0 || !runs("apt-get")) return;
  const packages = ["openmpi-bin", "libopenmpi-dev"];
  console.error(`test: apt-get install ${packages.join(" ")} (for tests with mpirun)`);
  const aptGet = (...args) =>
    spawnSync("apt-get", args, {
      stdio: "ignore",
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    }).status === 0;
  const install = () => aptGet("install", "-y", "--no-install-recommends", ...packages);
  if (!install() && !(aptGet("update") && install())) {
    console.error("test: that failed; tests with mpirun will be skipped");
  }
}
