/** kraken score: the log-probability of each token of a text. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { withIoErrors } from "../../io-error.js";
import type { Context } from "../context.js";
import { addEngineFlags, type EngineFlags, engineDirectory, loadOptions } from "../engine-flags.js";
import { UsageError } from "../failure.js";
import { addFlag, tokens } from "../flags.js";
import { plural, printJson } from "../output.js";
import { readAll } from "../stdin.js";

interface Flags extends EngineFlags {
  text?: string;
  file?: string;
  tokens?: number[];
  json?: true;
}

const help = `
Examples:
  kraken score engines/demo --text "It is a truth universally acknowledged"
  kraken score engines/demo --file chapter.txt
  kraken score engines/demo --tokens 5,17,3 --json      {"tokens": [5,17,3], "logprobs": [null, …], "perplexity": …}

logprobs are natural logarithms of each token's probability given those before it; the first token has none.
`;

export function addScore(program: Command, context: Context): void {
  const command = program
    .command("score")
    .description("log-probability of each token of a text, and its perplexity")
    .argument("[engine]", "engine directory")
    .addHelpText("after", help.trimEnd());
  command.optionsGroup("Text (one of them, or stdin):");
  addFlag(command, "--text <text>", "the text", { conflicts: ["file", "tokens"], env: false });
  addFlag(command, "--file <path>", "a file with the text, read as it is (- for stdin)", {
    conflicts: ["text", "tokens"],
    env: false,
  });
  addFlag(command, "--tokens <ids>", "token ids: 1,2,3", {
    parse: tokens,
    conflicts: ["text", "file"],
    env: false,
  });
  addEngineFlags(command);
  command.optionsGroup("Run:");
  addFlag(command, "--json", "print one JSON document");
  command.helpOption("-h, --help", "show help");
  command.action((engine: string | undefined, flags: Flags) =>
    score(engineDirectory(engine, flags), flags, context),
  );
}

async function textOf(flags: Flags, context: Context): Promise<string | number[]> {
  if (flags.tokens !== undefined) return flags.tokens;
  if (flags.text !== undefined) return flags.text;
  if (flags.file !== undefined && flags.file !== "-") {
    const { file } = flags;
    return withIoErrors(`read ${file}`, () => readFile(file, { encoding: "utf8", signal: context.signal }));
  }
  if (flags.file === undefined && context.stdin.isTTY) {
    throw new UsageError("nothing to score: give --text, --file or --tokens, or pipe text in");
  }
  return readAll(context);
}

async function score(directory: string, flags: Flags, context: Context): Promise<void> {
  const text = await textOf(flags, context);
  const { Engine } = await context.library.engine();
  const engine = await Engine.load(directory, loadOptions(flags, context));
  try {
    const { tokens, logprobs, perplexity } = await engine.score(text, { signal: context.signal });
    if (flags.json) {
      printJson(context.stdout, { tokens, logprobs, perplexity });
    } else if (Number.isNaN(perplexity)) {
      context.stdout.write(
        `${plural(tokens.length, "token")}: the first has no probability, nothing to score\n`,
      );
    } else {
      const mean = -Math.log(perplexity);
      context.stdout.write(
        `perplexity ${perplexity.toPrecision(6)}   ${plural(tokens.length, "token")}, mean log-probability ${mean.toFixed(4)}\n`,
      );
    }
  } finally {
    await engine.dispose();
  }
}
