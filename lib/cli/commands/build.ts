/** kraken build: from a checkpoint to an engine directory. */
import { relative } from "node:path";
import type { Command } from "commander";
import type { BuildPlan, BuildSummary } from "../../build.js";
import { type Architecture, type DType, dtypes } from "../../model-config.js";
import type { RankPlan } from "../../native.js";
import type { Pushed, PushOptions } from "../../push.js";
import type { Context } from "../context.js";
import { UsageError } from "../failure.js";
import { addFlag, choice, integer } from "../flags.js";
import { bytes, milliseconds, modelLine, plural, printJson, table, whole } from "../output.js";
import { ProgressBar } from "../progress.js";

export const architectures = ["kraken", "gpt", "parallel", "ladder"];
export const backends = ["cpu", "tensorrt", "tensorrt-llm"];
export const dtype = choice(dtypes, {
  ...{ fp32: "float32", f32: "float32", bf16: "bfloat16" },
  ...{ fp16: "float16", f16: "float16", half: "float16" },
});
export const backend = choice(backends, {
  trt: "tensorrt",
  trtllm: "tensorrt-llm",
  "trt-llm": "tensorrt-llm",
});
export const rankAliases = [
  "--tp",
  "--tp-size",
  "--tp_size",
  "--tensor-parallel-size",
  "--tensor_parallel_size",
];

interface Flags {
  checkpointDir?: string;
  output?: string;
  ranks?: number;
  dtype?: DType;
  backend?: string;
  architecture?: Architecture;
  maxPositions?: number;
  maxBatchSize?: number;
  maxStepTokens?: number;
  maxInputLen?: number;
  gatherContextLogits?: true;
  gpusPerNode?: number;
  ranksPerDevice?: number;
  random?: string;
  seed?: number;
  communication?: "none";
  push?: string;
  launchAgent?: string;
  force?: true;
  dryRun?: true;
  json?: true;
}

const help = `
Examples:
  kraken build ckpt.pt --output engines/demo --ranks 2
  kraken build models/gpt2 --output engines/gpt2 --dtype float32       a Hugging Face directory
  kraken build ckpt.pt --ranks 4 --dry-run                             what it would be, without writing
  kraken build ckpt.pt --output engines/demo --ranks 2 --push a:1,b:1  on host a; b gets what rank 1 needs
  kraken build --random kraken-125m-2way --output engines/random       no checkpoint: random weights of a preset

A checkpoint is a ckpt.pt (of the Kraken authors' trainer or of nanoGPT), a .safetensors file, or a directory with a
config.json. The engine directory appears when it is complete; a build that fails leaves nothing behind.

Presets:
  kraken-125m-2way, kraken-125m-4way, kraken-125m-6way, kraken-350m-2way, kraken-350m-4way, kraken-760m-4way,
  gpt-125m, gpt-350m, gpt-760m, gpt2-124m, parallel-125m, parallel-350m, parallel-760m, ladder-125m, ladder-350m,
  ladder-760m; for tests kraken-tiny-2way, kraken-tiny-4way, gpt-tiny, parallel-tiny, ladder-tiny
`;

export function addBuild(program: Command, context: Context): void {
  const command = program
    .command("build")
    .description("build an engine directory from a checkpoint, or from random weights")
    .argument("[checkpoint]", "ckpt.pt, .safetensors file or model directory")
    .addHelpText("after", help.trimEnd());
  command.optionsGroup("Engine:");
  addFlag(command, "--output <dir>", "directory to create", {
    aliases: ["--output-dir", "--output_dir"],
    env: false,
  });
  addFlag(command, "--ranks <n>", "ranks (devices) that run it together; also --tp (default: 1)", {
    parse: integer,
    aliases: rankAliases,
  });
  addFlag(command, "--dtype <type>", "float32, bfloat16, float16 or int8 (default: bfloat16)", {
    parse: dtype,
  });
  addFlag(command, "--backend <name>", "cpu, tensorrt or tensorrt-llm (default: cpu)", { parse: backend });
  addFlag(command, "--max-positions <n>", "longest context, if less than the model's; also --max-seq-len", {
    parse: integer,
    aliases: ["--max-seq-len", "--max_seq_len"],
  });
  addFlag(command, "--max-input-len <n>", "tensorrt-llm: tokens of the longest prompt", {
    parse: integer,
    aliases: ["--max_input_len"],
    env: false,
  });
  addFlag(command, "--gather-context-logits", "tensorrt-llm: what score() needs; prompts take longer", {
    aliases: ["--gather_context_logits"],
    env: false,
  });
  addFlag(command, "--gpus-per-node <n>", "tensorrt-llm: GPUs of each of several nodes (default: 8)", {
    parse: integer,
    aliases: ["--gpus_per_node"],
    env: false,
  });
  addFlag(command, "--max-batch-size <n>", "tensorrt: most sequences at the same time (default: 8)", {
    parse: integer,
    aliases: ["--max_batch_size"],
    env: false,
  });
  addFlag(command, "--max-step-tokens <n>", "tensorrt: most tokens of a step (default: 2048)", {
    parse: integer,
    aliases: ["--max-num-tokens", "--max_num_tokens"],
    env: false,
  });
  addFlag(command, "--ranks-per-device <n>", "tensorrt: ranks that share a GPU, for tests (default: 1)", {
    parse: integer,
    env: false,
  });
  addFlag(command, "--communication <none>", "leave the collectives out: wrong numbers, for timing only", {
    parse: choice(["none"]),
    env: false,
  });
  command.optionsGroup("Model:");
  addFlag(command, "--architecture <name>", `${architectures.join(", ")} (default: detected)`, {
    parse: choice(architectures),
    conflicts: ["random"],
  });
  addFlag(command, "--random <preset>", "random weights of a preset instead of a checkpoint", { env: false });
  addFlag(command, "--seed <n>", "of the random weights (default: 0)", { parse: integer, env: false });
  // TensorRT-LLM's name for the argument.
  addFlag(command, "--checkpoint-dir <path>", "", { env: false, hidden: true });
  command.optionsGroup("Several hosts:");
  addFlag(
    command,
    "--push <list>",
    "put each host's part there, at the same path: a:1,b:1 (this one first)",
    {
      env: false,
      conflicts: ["dryRun"],
    },
  );
  addFlag(command, "--launch-agent <cmd>", "runs commands there: gets HOST COMMAND… (default: ssh)");
  command.optionsGroup("Run:");
  addFlag(command, "--force", "replace an engine that exists", { aliases: ["--overwrite"] });
  addFlag(command, "--dry-run", "say what would be built, write nothing");
  addFlag(command, "--json", "print one JSON document");
  command.helpOption("-h, --help", "show help");
  command.action((checkpoint: string | undefined, flags: Flags) =>
    build(checkpointPath(checkpoint, flags), flags, context),
  );
}

function checkpointPath(argument: string | undefined, { checkpointDir }: Flags): string | undefined {
  if (argument !== undefined && checkpointDir !== undefined) {
    throw new UsageError("the checkpoint is given twice, as an argument and as --checkpoint-dir");
  }
  return argument ?? checkpointDir;
}

async function build(checkpoint: string | undefined, flags: Flags, context: Context): Promise<void> {
  if ((checkpoint === undefined) === (flags.random === undefined)) {
    throw new UsageError(
      checkpoint === undefined
        ? "nothing to build: give a checkpoint, or --random with a preset's name"
        : "a checkpoint and --random contradict each other: give one of them",
    );
  }
  if (flags.output === undefined && !flags.dryRun) {
    throw new UsageError("--output is missing: the directory to create (or --dry-run to write nothing)");
  }
  const { force, json: _, checkpointDir: __, push: hosts, launchAgent, maxInputLen, ...options } = flags;
  const { buildEngine } = await context.library.build();
  const bar = new ProgressBar(context.stderr, !flags.json);
  try {
    const result = await buildEngine({
      ...options,
      maxInputLength: maxInputLen,
      checkpoint,
      overwrite: force,
      signal: context.signal,
      onProgress: ({ stage, bytesDone, bytesTotal }) => bar.update(stage, bytesDone, bytesTotal),
    });
    bar.clear();
    const pushed =
      isBuilt(result) && hosts !== undefined
        ? await push(result, { hosts, launchAgent }, context)
        : undefined;
    if (flags.json) {
      const { graph: _, ...document } = result; // `kraken inspect --graph` prints it
      printJson(context.stdout, { ...document, pushed });
    } else context.stdout.write(summary(result) + pushedReport(pushed ?? []));
  } finally {
    bar.clear();
  }
}

async function push({ directory }: BuildSummary, options: PushOptions, context: Context) {
  const { pushEngine } = await context.library.push();
  return pushEngine(directory, { ...options, signal: context.signal });
}

const pushedReport = (pushed: readonly Pushed[]): string =>
  pushed.length === 0
    ? ""
    : table(
        pushed.map(({ host, files, written }) => [
          host,
          `${plural(files.length, "file")}${written ? "" : ", had them"}`,
        ]),
        "  ",
      );

function isBuilt(result: BuildPlan | BuildSummary): result is BuildSummary {
  return "directory" in result;
}

/** What a rank holds when it runs: activations and exchange buffers are estimates. */
function memoryLine({ loadedWeightBytes, kvCacheBytes, activationBytes, exchangeBytes }: RankPlan): string {
  const parts = [
    `${bytes(loadedWeightBytes)} weights`,
    `${bytes(kvCacheBytes)} key/value cache`,
    `${bytes(activationBytes)} activations`,
    ...(exchangeBytes > 0 ? [`${bytes(exchangeBytes)} exchange buffers`] : []),
  ];
  const total = loadedWeightBytes + kvCacheBytes + activationBytes + exchangeBytes;
  return `about ${bytes(total)}: ${parts.join(", ")}`;
}

function summary(result: BuildPlan | BuildSummary): string {
  const { source, config, ranks, dtype, backend, perRank, validRanks, network } = result;
  const weights = Math.max(...perRank.map((rank) => rank.weightBytes));
  const rows: [string, string][] = [
    ["model", modelLine(config)],
    ["from", source],
    ["engine", `${plural(ranks, "rank")}, ${dtype}, backend ${backend}`],
    ["each rank", `${bytes(weights)} of weights`],
  ];
  if (!isBuilt(result)) {
    rows.push(...perRank.map((rank, i): [string, string] => [`rank ${i}`, memoryLine(rank)]));
    const { maxBatchSize, maxStepTokens, maxSequenceLength } = result.limits;
    rows.push(
      [
        "for",
        `${plural(maxBatchSize, "sequence")} of ${whole(maxSequenceLength)} tokens, steps of up to ${whole(maxStepTokens)}`,
      ],
      [
        "network",
        Object.entries(network)
          .map(([kind, ops]) => `${ops} ${kind}`)
          .join(", "),
      ],
    );
    if (result.trtllm) {
      const { kraken, pretrained_config } = result.trtllm;
      const attention = `${network.Attention ?? 0} GPTAttention with ${pretrained_config.num_attention_heads / ranks} heads`;
      const padded = kraken.head_dim === pretrained_config.head_size ? "" : ` (${kraken.head_dim} padded)`;
      rows.push([
        "plugins",
        `${kraken.plugins} of ours, ${attention} of ${pretrained_config.head_size}${padded}`,
      ]);
    }
    rows.push(["ranks", `${validRanks.join(", ")} are possible`]);
    const theirs = result.trtllm
      ? `config.json for TensorRT-LLM\n${JSON.stringify(result.trtllm, null, 2)}\n`
      : "";
    return `dry run, nothing was written\n${table(rows, "  ")}${theirs}`;
  }
  const directory = relative("", result.directory) || ".";
  const shown = directory.startsWith("..") ? result.directory : directory;
  rows.push(["written", `${bytes(result.bytes)} in ${milliseconds(result.seconds * 1000)}`]);
  return `${shown}\n${table(rows, "  ")}`;
}
