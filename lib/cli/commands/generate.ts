/** kraken generate: continues a prompt; text streams to stdout, what it cost goes to stderr. */
import type { Command } from "commander";
import type { Engine } from "../../engine.js";
import type { GenerateOptions } from "../../sampling.js";
import type { Context } from "../context.js";
import { addEngineFlags, type EngineFlags, engineDirectory, loadOptions } from "../engine-flags.js";
import { UsageError } from "../failure.js";
import { addFlag, integer, list, number, seed, tokens } from "../flags.js";
import { printJson } from "../output.js";
import { statsReport, timingLine } from "../report.js";
import { readAll } from "../stdin.js";
import { streamLogprobs, streamSamples, streamText } from "../streams.js";

interface Flags extends EngineFlags {
  prompt?: string;
  tokens?: number[];
  maxTokens?: number;
  minTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  seed?: number | bigint;
  stop?: string[];
  stopTokens?: number[];
  ignoreEos?: true;
  logprobs?: number;
  n?: number;
  profile?: true;
  stats?: true;
  json?: true;
}

const help = `
Examples:
  kraken generate engines/demo --prompt "In the beginning" --max-tokens 64 --temperature 0.8 --top-p 0.95 --seed 1
  echo "In the beginning" | kraken generate engines/demo --temperature 0
  kraken generate engines/demo --tokens 464,3290 --logprobs 3        one line for each token
  kraken generate engines/demo --prompt "Once" --n 3 --json

Ctrl-C ends it cleanly, with exit code 130. Text that could still become a stop string is held back until it is not.
`;

export function addGenerate(program: Command, context: Context): void {
  const command = program
    .command("generate")
    .description("continue a prompt, streaming the text")
    .argument("[engine]", "engine directory")
    .addHelpText("after", help.trimEnd());
  addPromptFlags(command);
  addSamplingFlags(command);
  addEngineFlags(command);
  command.optionsGroup("Run:");
  addFlag(command, "--stats", "say on stderr what it cost (the first line of it always on a terminal)");
  addFlag(command, "--profile", "measure each kind of op; implies --stats");
  addFlag(command, "--json", "print one JSON document at the end");
  command.helpOption("-h, --help", "show help");
  command.action((engine: string | undefined, flags: Flags) =>
    generate(engineDirectory(engine, flags), flags, context),
  );
}

function addPromptFlags(command: Command): void {
  command.optionsGroup("Prompt (one of them, or stdin):");
  addFlag(command, "-p, --prompt <text>", "the text to continue", {
    conflicts: ["tokens"],
    aliases: ["--input-text", "--input_text"],
    env: false,
  });
  addFlag(command, "--tokens <ids>", "token ids: 1,2,3", {
    parse: tokens,
    conflicts: ["prompt"],
    env: false,
  });
}

function addSamplingFlags(command: Command): void {
  command.optionsGroup("Sampling:");
  addFlag(command, "--max-tokens <n>", "most tokens to generate (default: 256, or what fits)", {
    parse: integer,
    aliases: ["--max-output-len", "--max_output_len", "--max-new-tokens", "--max_new_tokens"],
  });
  addFlag(command, "--min-tokens <n>", "nothing ends the text before that (default: 0)", { parse: integer });
  addFlag(command, "--temperature <t>", "0 always takes the likeliest token (default: 1)", { parse: number });
  addFlag(command, "--top-k <k>", "choose among the k likeliest tokens (default: 0, all)", {
    parse: integer,
  });
  addFlag(command, "--top-p <p>", "choose among the likeliest tokens of that probability (default: 1)", {
    parse: number,
  });
  addFlag(
    command,
    "--min-p <p>",
    "choose among tokens at least p times as likely as the likeliest (default: 0)",
    {
      parse: number,
    },
  );
  addFlag(command, "--repetition-penalty <x>", "above 1: less of what was said already (default: 1)", {
    parse: number,
  });
  addFlag(command, "--presence-penalty <x>", "off the logits of tokens in the output (default: 0)", {
    parse: number,
  });
  addFlag(command, "--frequency-penalty <x>", "the same for each time they occur (default: 0)", {
    parse: number,
  });
  addFlag(command, "--seed <n>", "the same seed gives the same text (default: random)", {
    parse: seed,
    aliases: ["--random-seed", "--random_seed"],
  });
  addFlag(command, "--stop <text>", "end before this text; may be repeated", { parse: list, env: false });
  addFlag(command, "--stop-tokens <ids>", "end at these token ids", { parse: tokens, env: false });
  addFlag(command, "--ignore-eos", "go on after the end-of-text token");
  addFlag(command, "--logprobs <k>", "log-probability of each token, and of the k likeliest", {
    parse: integer,
  });
  addFlag(command, "--n <n>", "number of continuations (default: 1)", { parse: integer, env: false });
}

async function promptOf(flags: Flags, context: Context): Promise<string | number[]> {
  if (flags.tokens !== undefined) return flags.tokens;
  if (flags.prompt !== undefined) return flags.prompt;
  if (context.stdin.isTTY) throw new UsageError("no prompt: give --prompt or --tokens, or pipe text in");
  // `echo` ends with a newline that nobody means.
  return (await readAll(context)).replace(/\r?\n$/, "");
}

function samplingOf(flags: Flags, signal: AbortSignal): GenerateOptions {
  const {
    maxTokens,
    minTokens,
    temperature,
    topK,
    topP,
    minP,
    seed,
    stop,
    stopTokens,
    ignoreEos,
    logprobs,
    n,
  } = flags;
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = flags;
  return {
    maxTokens,
    minTokens,
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    seed,
    stop,
    stopTokens,
    ignoreEos,
    logprobs,
    n,
    signal,
  };
}

async function generate(directory: string, flags: Flags, context: Context): Promise<void> {
  const prompt = await promptOf(flags, context);
  const { Engine } = await context.library.engine();
  const engine = await Engine.load(directory, { ...loadOptions(flags, context), profile: flags.profile });
  try {
    await run(engine, prompt, flags, context);
  } finally {
    await engine.dispose();
  }
}

async function run(engine: Engine, prompt: string | number[], flags: Flags, context: Context): Promise<void> {
  const { stdout, stderr } = context;
  const withStats = flags.stats || flags.profile;
  const generation = engine.generate(prompt, samplingOf(flags, context.signal));
  if (flags.json) {
    const result = await generation;
    printJson(stdout, withStats ? { ...result, stats: engine.stats() } : result);
    return;
  }
  if ((flags.n ?? 1) > 1) streamSamples(await generation, stdout, engine.tokenizer !== undefined);
  else if (flags.logprobs !== undefined) await streamLogprobs(generation, stdout, engine.tokenizer);
  else await streamText(generation, stdout, engine.tokenizer !== undefined);
  if (!withStats && !stderr.isTTY) return;
  const result = await generation;
  stderr.write(`${stdout.isTTY ? "\n" : ""}${timingLine(result)}\n`);
  if (withStats) stderr.write(statsReport(engine));
}
