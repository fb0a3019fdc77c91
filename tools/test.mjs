/**
 * `npm test`, after set-up: native tests through ctest, then every TypeScript test through node:test. Kernels (in ctest)
 * and the parity of checkpoints and architectures are tested once with each instruction set that the machine has.
 * `npm test -- --only unit` (or parity, process, server, trtllm, native) runs one group.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { tensorrtEnvironment } from "./gpu-toolchain/environment.mjs";
import { installOpenMpi } from "./open-mpi.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({ options: { only: { type: "string" } } });
const groups = values.only ? [values.only] : ["native", "unit", "parity", "process", "server", "trtllm"];

function run(title, program, args, env = {}) {
  console.error(`\ntest: ${title}`);
  const result = spawnSync(program, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  if (result.status !== 0) {
    console.error(`test: ${title} FAILED`);
    process.exit(result.status ?? 1);
  }
}

// One file at a time: every engine under test has several threads of its own.
const runNode = (title, files, env) =>
  run(title, process.execPath, ["--import", "tsx", "--test", "--test-concurrency=1", ...files], env);

const addon = () => createRequire(import.meta.url)("node-gyp-build")(root);

/** Instruction sets that KRAKEN_CPU_ISA can force here, the best last. */
function instructionSets() {
  return addon().capabilities().backends.cpu.details.instructionSets.split(", ");
}

const testsIn = (group) =>
  readdirSync(join(root, "test", group))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join("test", group, name));

// Before anything is configured: the double of TensorRT-LLM is compiled where MPI is found.
if (groups.includes("native") || groups.includes("trtllm")) installOpenMpi();

for (const group of groups) {
  if (group === "native") {
    run("building native tests", process.execPath, [join(root, "tools", "build-native.mjs"), "--tests"]);
    const ctest = ["--test-dir", "build", "--output-on-failure", "-j", String(availableParallelism())];
    run("native", "ctest", ctest, tensorrtEnvironment());
    const { plugins } = addon().probeGpu();
    if (!plugins.found) console.error(`test: GPU plugins skipped, ${plugins.text}`);
    continue;
  }
  // After `native`, the double is there; alone, it is built here.
  if (group === "trtllm" && values.only) {
    run("building the double", process.execPath, [join(root, "tools", "build-native.mjs"), "--tests"]);
  }
  const files = testsIn(group);
  if (files.length === 0) {
    console.error(`test: no tests in test/${group}`);
    process.exit(1);
  }
  runNode(group, files);
  if (group === "parity") {
    const sets = instructionSets();
    console.error(
      `test: instruction sets of this machine: ${sets.join(", ")}; parity so far was with the last`,
    );
    const again = ["fixtures", "architectures"].map((name) => join("test", group, `${name}.test.ts`));
    for (const isa of sets.slice(0, -1)) runNode(`parity with ${isa}`, again, { KRAKEN_CPU_ISA: isa });
  }
}
