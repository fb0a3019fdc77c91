/**
 * `npm run test:tensorrt`: what can be known of the GPU code without a GPU. Brings the toolchain and the TensorRT libraries
 * (about 1.4 GB the first time), builds the plugins for all GPU architectures, runs them on the host, builds networks with
 * them in the real TensorRT 10 and 11, compiles networks without them in TensorRT for RTX, and runs whole engines over
 * stand-ins for GPUs, ranks as processes. Without the registries it fails: nothing it tests can be tested otherwise.
 */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { standInEnvironment, tensorrtEnvironment } from "./gpu-toolchain/environment.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

function run(title, program, args, env = {}) {
  console.error(`\ntest:tensorrt: ${title}`);
  const result = spawnSync(program, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  if (result.status !== 0) {
    console.error(`test:tensorrt: ${title} FAILED`);
    process.exit(result.status ?? 1);
  }
}

if (process.platform !== "linux" || process.arch !== "x64") {
  console.error(
    `test:tensorrt: skipped, the packages it needs are for linux-x64 and this is ${process.platform}-${process.arch}`,
  );
  process.exit(0);
}

const node = (...args) => [process.execPath, args];
run("toolchain and libraries", ...node(join("tools", "gpu-toolchain", "main.mjs"), "--tensorrt", "all"));
run("building", ...node(join("tools", "build-native.mjs"), "--tests"));
const select = ["--test-dir", "build", "--label-regex", "^tensorrt$", "--no-tests=error"];
run("tests", "ctest", [...select, "--output-on-failure"], tensorrtEnvironment());
const processes = ["--import", "tsx", "--test", join("test", "tensorrt", "processes.test.ts")];
run("ranks as processes", ...node(...processes), standInEnvironment());
const engines = ["--import", "tsx", join("test", "gpu", "engines.ts"), "--devices", "8", "--small"];
run("the engines of test/gpu over stand-ins", ...node(...engines), standInEnvironment());
