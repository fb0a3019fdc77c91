/** kraken inspect: what a checkpoint, a preset or an engine is, and what it needs. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { fromNative, KrakenError } from "../../errors.js";
import {
  type Architecture,
  type DType,
  defaultDType,
  type ModelConfig,
  parameterCount,
  waysOf,
} from "../../model-config.js";
import type { NativePlan } from "../../native.js";
import { defaultLimits } from "../../step-limits.js";
import type { Context } from "../context.js";
import { UsageError } from "../failure.js";
import { addFlag, choice, integer } from "../flags.js";
import { bytes, modelLine, plural, printJson, table, whole } from "../output.js";
import { architectures, backend, dtype, rankAliases } from "./build.js";

interface Flags {
  random?: string;
  architecture?: Architecture;
  ranks?: number;
  dtype?: DType;
  backend?: string;
  graph?: true;
  json?: true;
}

const help = `
Examples:
  kraken inspect ckpt.pt --ranks 2        memory of each rank
  kraken inspect engines/demo
  kraken inspect --random kraken-760m-4way --ranks 4
`;

export function addInspect(program: Command, context: Context): void {
  const command = program
    .command("inspect")
    .description("what a checkpoint or an engine is: sizes, parameters, memory of each rank")
    .argument("[path]", "checkpoint or engine directory")
    .addHelpText("after", help.trimEnd());
  command.optionsGroup("Model:");
  addFlag(command, "--random <preset>", "a preset instead of a path", { env: false });
  addFlag(command, "--architecture <name>", `${architectures.join(", ")} (default: detected)`, {
    parse: choice(architectures),
    conflicts: ["random"],
    env: false,
  });
  command.optionsGroup("Plan:");
  addFlag(command, "--ranks <n>", "memory for that many ranks; also --tp (default: 1, or the engine's)", {
    parse: integer,
    aliases: rankAliases,
    env: false,
  });
  addFlag(
    command,
    "--dtype <type>",
    "float32, bfloat16, float16 or int8 (default: as build, or the engine's)",
    {
      parse: dtype,
      env: false,
    },
  );
  addFlag(command, "--backend <name>", "default: cpu, or the engine's", { parse: backend, env: false });
  command.optionsGroup("Run:");
  addFlag(command, "--graph", "list the ops of rank 0");
  addFlag(command, "--json", "print one JSON document");
  command.helpOption("-h, --help", "show help");
  command.action((path: string | undefined, flags: Flags) => inspect(path, flags, context));
}

/** What there is to know before anything is planned. */
interface Subject {
  kind: "checkpoint" | "engine" | "preset";
  /** In words. */
  source: string;
  config: ModelConfig;
  /** Of the tensors, as stored. */
  storedDtype: string;
  tokenizer: string | null;
  ranks: number;
  /** Of an engine. */
  dtype: DType | undefined;
  backend: string;
  /** Only of an engine. */
  createdBy?: string;
  communication?: string;
  fileBytes?: number;
}

/** Whether the directory's config.json is an engine's, however damaged the rest may be. */
async function isEngine(path: string): Promise<boolean> {
  try {
    if (!(await stat(path)).isDirectory()) return false;
    const manifest = JSON.parse(await readFile(join(path, "config.json"), "utf8"));
    return manifest?.format === "kraken-engine";
  } catch {
    return false;
  }
}

async function subjectOf(path: string | undefined, flags: Flags, context: Context): Promise<Subject> {
  if (path === undefined && flags.random === undefined) {
    throw new UsageError(
      "nothing to inspect: give a checkpoint, an engine directory, or --random with a preset's name",
    );
  }
  if (path !== undefined && flags.random !== undefined) {
    throw new UsageError("a path and --random contradict each other: give one of them");
  }
  if (path !== undefined && (await isEngine(path))) {
    const { readManifest } = await context.library.engineDirectory();
    const manifest = await readManifest(path);
    return {
      kind: "engine",
      source: manifest.source,
      config: manifest.config,
      storedDtype: manifest.dtype,
      tokenizer: manifest.tokenizer?.kind ?? null,
      ranks: manifest.ranks,
      dtype: manifest.dtype,
      backend: manifest.backend,
      createdBy: manifest.createdBy,
      communication: manifest.communication,
      fileBytes: Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0),
    };
  }
  const index =
    path === undefined
      ? (await context.library.presets()).preset(flags.random!, { seed: 0 })
      : await (await context.library.checkpoint()).openCheckpoint(
          path,
          flags.architecture ? { architecture: flags.architecture } : {},
        );
  return {
    kind: path === undefined ? "preset" : "checkpoint",
    source: index.description,
    config: index.config,
    storedDtype: index.dtype,
    tokenizer: index.tokenizer?.kind ?? null,
    ranks: 1,
    dtype: undefined,
    backend: "cpu",
  };
}

async function inspect(path: string | undefined, flags: Flags, context: Context): Promise<void> {
  const subject = await subjectOf(path, flags, context);
  const ranks = flags.ranks ?? subject.ranks;
  const backend = flags.backend ?? subject.backend;
  const dtype = flags.dtype ?? subject.dtype ?? defaultDType(backend, subject.storedDtype);
  const { config } = subject;
  let plan: NativePlan | undefined;
  let whyNot: string | undefined;
  try {
    const limits = defaultLimits(config.maxPositions);
    plan = (await context.library.native()).native().plan({ config, ranks, dtype, backend, ...limits });
  } catch (caught) {
    const error = fromNative(caught);
    // Everything else is known without the addon.
    if (!(error instanceof KrakenError) || error.code !== "ERR_NATIVE_LOAD") throw error;
    whyNot = error.message;
  }
  if (flags.json) {
    const { config: _, ...about } = subject;
    printJson(context.stdout, {
      ...about,
      ranks,
      dtype,
      backend,
      parameters: parameterCount(config),
      config,
      perRank: plan?.ranks.map((rank) => ({
        ...rank,
        kvBytesAtFullContext: rank.kvBytesPerToken * config.maxPositions,
      })),
      validRanks: plan?.validRanks,
      ...(flags.graph ? { graph: plan?.graph.trimEnd().split("\n") } : {}),
      ...(whyNot ? { planUnavailable: whyNot } : {}),
    });
    return;
  }
  context.stdout.write(`${path ?? flags.random}: ${subject.kind}\n`);
  context.stdout.write(table(describe(subject), "  "));
  if (!plan) {
    context.stdout.write(`\nmemory and rank counts are not known: ${whyNot}\n`);
    return;
  }
  context.stdout.write(`\non ${plural(ranks, "rank")} in ${dtype}, backend ${backend}\n`);
  context.stdout.write(table(memory(plan, config), "  "));
  if (flags.graph) context.stdout.write(`\nrank 0\n${plan.graph.trimEnd()}\n`);
}

function positions({ positions, maxPositions }: ModelConfig): string {
  if (positions.kind === "learned") return `${whole(maxPositions)}, learned`;
  const scaled = positions.frequencyScale ? ", scaled" : "";
  return `${whole(maxPositions)}, rotary (${positions.dims} dimensions, base ${positions.base}${scaled})`;
}

function describe({ config, source, storedDtype, tokenizer, ...engine }: Subject): [string, string][] {
  const { heads, kvHeads, headDim, norm, tiedHead } = config;
  const shared = kvHeads === heads ? "" : `, ${plural(kvHeads, "key/value head")}`;
  const perWay = waysOf(config) > 1 ? " in each way" : "";
  const rows: [string, string][] = [
    ["model", modelLine(config)],
    ["from", source],
    ["parameters", `${whole(parameterCount(config))}, stored as ${storedDtype}`],
    ["width", `${config.hiddenSize}, MLP ${config.ffnSize}${perWay}`],
    ["attention", `${plural(heads, "head")} of ${headDim}${shared}${perWay}`],
    ["positions", positions(config)],
    ["vocabulary", `${whole(config.vocabSize)}, ${tiedHead ? "tied head" : "separate head"}`],
    [
      "norm",
      `${norm.kind === "rms" ? "RMSNorm" : "LayerNorm"}, eps ${norm.eps.toExponential()}; activation ${config.activation}`,
    ],
    ["tokenizer", tokenizer === null ? "none: token ids only" : (tokenizers[tokenizer] ?? tokenizer)],
  ];
  if (engine.createdBy) rows.push(["built by", engine.createdBy]);
  if (engine.fileBytes !== undefined) rows.push(["files", bytes(engine.fileBytes)]);
  if (engine.communication === "none")
    rows.push(["caution", "built without collectives: right timing, wrong numbers"]);
  return rows;
}

const tokenizers: Record<string, string> = {
  file: "tokenizer.json",
  gpt2: "GPT-2's, built in",
  bytes: "one token a byte",
};

function memory(plan: NativePlan, config: ModelConfig): [string, string][] {
  const n = plan.ranks.length;
  const rows: [string, string][] = [];
  for (const [rank, { weightBytes, kvBytesPerToken, ops }] of plan.ranks.entries()) {
    const cache = `${bytes(kvBytesPerToken)} per token, ${bytes(kvBytesPerToken * config.maxPositions)} at full context`;
    rows.push([`rank ${rank}`, `${bytes(weightBytes)} of weights; key/value cache ${cache}; ${ops} ops`]);
  }
  const how =
    config.architecture === "kraken"
      ? `each holds ${plural(config.ways / n, "way")}; one all-reduce a layer, beside its attention`
      : n > 1
        ? "tensor parallel: heads and MLP columns are split"
        : "heads and MLP columns can be split over ranks";
  rows.push(["split", how], ["ranks", `${plan.validRanks.join(", ")} are possible`]);
  return rows;
}
