/**
 * `npm run toolchain:gpu`: brings what GPU code needs to compile where no CUDA toolkit and no TensorRT are installed,
 * from package registries through their own clients. `-- --tensorrt 10` (or 11, or rtx, or all) brings that TensorRT
 * library too, which tests open; compiling needs none. What the machine has, and what an earlier run brought, stays.
 */
import { homedir } from "node:os";
import { relative } from "node:path";
import { parseArgs } from "node:util";
import { cuda } from "./cuda.mjs";
import { foundOnMachine } from "./found.mjs";
import { ToolchainError } from "./install.mjs";
import { root } from "./places.mjs";
import { tensorrtHeaders } from "./tensorrt-headers.mjs";
import { tensorrtLibraries } from "./tensorrt-libraries.mjs";

const say = (line) => console.error(`toolchain: ${line}`);
const size = (megabytes) => (megabytes < 1 ? "< 1 MB" : `${megabytes} MB`);

/** As a person would write it. */
function shown(path) {
  const inside = relative(root, path);
  return inside.startsWith("..") ? path.replace(homedir(), "~") : inside;
}

function wantedParts(majors) {
  const found = foundOnMachine();
  const compile = [
    { part: cuda, elsewhere: found.cuda },
    ...["10", "11"].map((major) => ({ part: tensorrtHeaders(major), elsewhere: found.tensorrt[major] })),
  ];
  // TensorRT for RTX serves tests alone, so its headers come with its library.
  const tests = majors.flatMap((major) => [
    ...(major === "rtx" ? [tensorrtHeaders(major)] : []),
    tensorrtLibraries(major),
  ]);
  return [...compile, ...tests.map((part) => ({ part, elsewhere: undefined }))];
}

async function main() {
  const { values } = parseArgs({ options: { tensorrt: { type: "string" } } });
  const majors = { undefined: [], 10: ["10"], 11: ["11"], rtx: ["rtx"], all: ["10", "11", "rtx"] }[
    values.tensorrt
  ];
  if (!majors) throw new ToolchainError(`--tensorrt must be 10, 11, rtx or all, got ${values.tensorrt}`);
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new ToolchainError(`its packages are for linux-x64, this is ${process.platform}-${process.arch}`);
  }
  const wanted = wantedParts(majors);
  const missing = wanted.filter(({ part, elsewhere }) => !elsewhere && !part.installed());
  for (const { part } of missing) {
    const { downloadMegabytes, installedMegabytes } = part.entry;
    say(`${part.title}: to download ${size(downloadMegabytes)}, on disk ${size(installedMegabytes)}`);
  }
  for (const { part } of missing) {
    const begin = performance.now();
    await part.install();
    say(`${part.title}: installed in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  }
  for (const { part, elsewhere } of wanted) {
    console.log(
      elsewhere ? `${part.title}: not needed, ${elsewhere}` : `${part.title}: ${shown(part.directory)}`,
    );
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ToolchainError) && error.code !== "ERR_PARSE_ARGS_UNKNOWN_OPTION") throw error;
  say(error.message);
  process.exitCode = 1;
}
