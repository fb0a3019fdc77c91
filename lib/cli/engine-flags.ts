/** What every command that runs an engine takes: the directory, and how to load it. */
import type { Command } from "commander";
import type { Isolation, LoadOptions } from "../engine-options.js";
import type { Context } from "./context.js";
import { UsageError } from "./failure.js";
import { addFlag, choice, integer, number } from "./flags.js";

export interface EngineFlags {
  engineDir?: string;
  maxBatchSize?: number;
  maxSequenceLength?: number;
  maxStepTokens?: number;
  prefillChunk?: number;
  kvCacheTokens?: number;
  prefixReuse?: boolean;
  threadsPerRank?: number;
  isolation?: Isolation;
  ranksPerDevice?: number;
  hosts?: string;
  launchAgent?: string;
  startTimeout?: number;
  exchangeDtype?: "float32" | "bfloat16";
  verify?: boolean;
  verbose?: true;
}

export function addEngineFlags(command: Command): void {
  command.optionsGroup("Engine:");
  addFlag(command, "--max-batch-size <n>", "sequences that run at the same time; also --batch (default: 8)", {
    parse: integer,
    aliases: ["--batch"],
  });
  addFlag(command, "--max-sequence-length <n>", "most tokens of prompt and output; also --max-seq-len", {
    parse: integer,
    aliases: ["--max-seq-len", "--max_seq_len"],
  });
  addFlag(command, "--max-step-tokens <n>", "most tokens of a step", {
    parse: integer,
    aliases: ["--max-num-tokens", "--max_num_tokens"],
  });
  addFlag(command, "--prefill-chunk <n>", "most prompt tokens of a step in which others decode", {
    parse: integer,
  });
  addFlag(command, "--kv-cache-tokens <n>", "key/value memory, in tokens over all sequences", {
    parse: integer,
  });
  addFlag(command, "--threads-per-rank <n>", "compute threads of each rank (default: cores / ranks)", {
    parse: integer,
  });
  addFlag(
    command,
    "--isolation <where>",
    "process: ranks in a process of their own; none: in this one (default: none)",
  );
  command.option("--no-prefix-reuse", "compute every prompt in full, whatever is in memory already");
  addFlag(command, "--ranks-per-device <n>", "ranks that share a GPU, for tests (default: 1)", {
    parse: integer,
  });
  addFlag(command, "--verbose", "tensorrt-llm: print the command that starts the ranks");
  addHostFlags(command);
  command.option("--no-verify", "check the files' sizes only, not their checksums");
  // TensorRT-LLM's name for the argument.
  addFlag(command, "--engine-dir <dir>", "", { env: false, hidden: true });
}

/** How ranks come to run on several hosts. */
export function addHostFlags(command: Command): void {
  addFlag(command, "--hosts <list>", "hosts and the ranks of each, this one first, as in a:1,b:1");
  addFlag(command, "--launch-agent <cmd>", "starts ranks there: gets HOST COMMAND… (default: ssh)");
  addFlag(command, "--start-timeout <s>", "seconds for them to connect (default: 20)", { parse: number });
  addFlag(
    command,
    "--exchange-dtype <type>",
    "float32 or bfloat16 between hosts (default: by the engine's)",
    {
      parse: choice(["float32", "bfloat16"], { fp32: "float32", f32: "float32", bf16: "bfloat16" }),
    },
  );
}

export function engineDirectory(argument: string | undefined, flags: EngineFlags): string {
  const directory = argument ?? flags.engineDir;
  if (directory === undefined)
    throw new UsageError("which engine? Give the directory that `kraken build` wrote");
  if (argument !== undefined && flags.engineDir !== undefined) {
    throw new UsageError("the engine is given twice, as an argument and as --engine-dir");
  }
  return directory;
}

export function loadOptions(flags: EngineFlags, context: Context): LoadOptions {
  const {
    maxBatchSize,
    maxSequenceLength,
    maxStepTokens,
    prefillChunk,
    kvCacheTokens,
    prefixReuse,
    threadsPerRank,
    isolation,
    ranksPerDevice,
    hosts,
    launchAgent,
    startTimeout,
    exchangeDtype,
    verify,
    verbose,
  } = flags;
  return {
    maxBatchSize,
    maxSequenceLength,
    maxStepTokens,
    prefillChunk,
    kvCacheTokens,
    prefixReuse,
    threadsPerRank,
    isolation,
    ranksPerDevice,
    hosts,
    launchAgent,
    startTimeout,
    exchangeDtype,
    verify,
    ...(verbose && { onLaunch: (command: string) => context.stderr.write(`${command}\n`) }),
    signal: context.signal,
  };
}
