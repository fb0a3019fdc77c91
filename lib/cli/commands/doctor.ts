/** kraken doctor: what this machine can run, and why not the rest. Made to be pasted into a bug report. */
import type { Command } from "commander";
import { buildTrtLlmWorker } from "../../trtllm/worker.js";
import type { Context } from "../context.js";
import { diagnose, healthy } from "../diagnosis.js";
import { exitCodes } from "../failure.js";
import { addFlag } from "../flags.js";
import { bytes, plural, printJson, table } from "../output.js";

interface Flags {
  json?: true;
  buildTrtllm?: true;
}

const help = `
Prints no paths, environment or names of yours: the output can go into a bug report as it is.
Exit code 1 means that no engine can run here.
`;

export function addDoctor(program: Command, context: Context): void {
  const command = program
    .command("doctor")
    .description("what this machine can run, and why not the rest; for bug reports")
    .addHelpText("after", help.trimEnd());
  addFlag(command, "--json", "print one JSON document");
  addFlag(
    command,
    "--build-trtllm",
    "build what runs engines of backend tensorrt-llm, against the TensorRT-LLM here",
    {
      env: false,
    },
  );
  command.helpOption("-h, --help", "show help");
  command.action((flags: Flags) => doctor(flags, context));
}

const detailNames: Record<string, string> = {
  instructionSet: "instruction set",
  instructionSets: "of",
  highwayTarget: "Highway target",
};

async function doctor(flags: Flags, context: Context): Promise<void> {
  if (flags.buildTrtllm) {
    const { native } = await context.library.native();
    const { version } = await buildTrtLlmWorker(native().worker());
    context.stderr.write(`kraken-worker-trtllm is built for TensorRT-LLM ${version}\n`);
  }
  const diagnosis = await diagnose(context.library, { trtllm: true });
  if (!healthy(diagnosis)) context.exitCode = exitCodes.failure;
  if (flags.json) {
    printJson(context.stdout, { ok: healthy(diagnosis), ...diagnosis });
    return;
  }
  const { cpu, memory, addon, worker, backends, gpu, libraries, environment } = diagnosis;
  const limit = memory.limitBytes === null ? "" : `, limited to ${bytes(memory.limitBytes)}`;
  const rows: [string, string][] = [
    ["kraken-engine", diagnosis.version],
    [
      "Node",
      `${diagnosis.node.version} (${diagnosis.node.platform}-${diagnosis.node.arch}, Node-API ${diagnosis.node.napi})`,
    ],
    [
      "system",
      [diagnosis.system.name, diagnosis.system.kernel, diagnosis.system.libc].filter(Boolean).join(", "),
    ],
    ["processor", `${cpu.model}, ${plural(cpu.usable, "usable core")} of ${cpu.cores}`],
    ["features", cpu.features.length > 0 ? cpu.features.join(" ") : "not known"],
    ["memory", `${bytes(memory.totalBytes)}, ${bytes(memory.freeBytes)} free${limit}`],
    ["addon", addon.loaded ? `loaded (${addon.version})` : `not loaded: ${addon.reason}`],
  ];
  if (worker) {
    const state = worker.available ? worker.version : `not available: ${worker.reason}`;
    rows.push(["worker", state]);
  }
  const { mpi } = diagnosis;
  if (mpi) rows.push(["MPI", mpi.available ? "kraken-worker-mpi is built" : `not available: ${mpi.reason}`]);
  for (const [name, backend] of Object.entries(backends)) {
    const facts = Object.entries(backend.details).filter(([key]) => !(key in libraries));
    const details = facts.map(([key, value]) => `${detailNames[key] ?? key} ${value}`);
    const state = backend.available
      ? ["available", ...details].join(", ")
      : `not available: ${backend.reason}`;
    rows.push([name, state]);
  }
  if (gpu) {
    rows.push(
      ["GPU plugins", gpu.plugins.text],
      ["GPU driver", gpu.driver.text],
      ["TensorRT", gpu.tensorrt.text],
      ["NCCL", gpu.nccl.text],
    );
  }
  const { trtllm } = diagnosis;
  if (trtllm) {
    const state = trtllm.available ? `${trtllm.version}, kraken-worker-trtllm is built` : trtllm.reason;
    rows.push(["TensorRT-LLM", `${state}; for ${trtllm.target}`]);
  }
  const built = Object.entries(libraries).map(([name, version]) => `${name} ${version}`);
  if (built.length > 0) rows.push(["built with", built.join(", ")]);
  if (environment.length > 0) rows.push(["environment", environment.join(" ")]);
  context.stdout.write(table(rows));
}
