/** The `kraken` program: its commands, its help, and what happens when one fails. */
import { Command, CommanderError } from "commander";
import { closest } from "../options.js";
import { version } from "../version.js";
import { addBench } from "./commands/bench.js";
import { addBuild } from "./commands/build.js";
import { addDoctor } from "./commands/doctor.js";
import { addEval } from "./commands/eval.js";
import { addGenerate } from "./commands/generate.js";
import { addInspect } from "./commands/inspect.js";
import { addPlan } from "./commands/plan.js";
import { addScore } from "./commands/score.js";
import { addServe } from "./commands/serve.js";
import type { Context } from "./context.js";
import { BrokenPipe, exitCodes, failureOf, UsageError } from "./failure.js";
import { printJson } from "./output.js";
import { underMpi } from "./under-mpi.js";

const epilogue = `
Conventions:
  Names from TensorRT-LLM work too: --max_batch_size, --max_seq_len, --tp_size, --output_dir, --checkpoint_dir …
  Settings of engine and sampling have environment variables: KRAKEN_MAX_BATCH_SIZE=4 stands for --max-batch-size 4.
  --json prints one JSON document on stdout and nothing else; a failure is {"error": {"code", "message"}}.
  Under mpirun or srun the ranks are the processes that these start: mpirun -np 2 kraken generate …
  KRAKEN_DEBUG=1 adds a stack trace to errors. KRAKEN_CPU_ISA caps the instruction set (kraken doctor lists them).

Exit codes:
  0    done
  1    the work failed (the message says why)
  2    the command line is wrong
  130  interrupted by Ctrl-C (143: terminated)

Example, from nothing to text:
  kraken build --random kraken-tiny-2way --output engines/tiny --ranks 2
  kraken generate engines/tiny --prompt Hello --max-tokens 16
`;

/** Help shows what an option does; that there is a variable for each is said once. */
const plainHelp = {
  optionDescription: (option: { description: string }) => option.description,
  subcommandTerm: (command: Command) =>
    [
      command.name(),
      ...command.registeredArguments.map((a) => (a.required ? `<${a.name()}>` : `[${a.name()}]`)),
    ].join(" "),
};

function makeProgram(context: Context): Command {
  const program = new Command("kraken")
    .description("Builds and runs inference engines for Kraken transformers, on several ranks at once.")
    .version(`kraken-engine ${version}`, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help for a command")
    .exitOverride()
    .configureHelp(plainHelp)
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: () => {}, // errors are printed once, by report()
      getOutHelpWidth: () => context.stdout.columns || 100,
      getErrHelpWidth: () => context.stderr.columns || 100,
    })
    .addHelpText("after", epilogue.trimEnd());
  const commands = [
    addBuild,
    addGenerate,
    addServe,
    addScore,
    addEval,
    addInspect,
    addPlan,
    addBench,
    addDoctor,
  ];
  for (const add of commands) add(program, context);
  return program;
}

/** The command that the arguments name: `kraken eval perplexity …` names perplexity. */
function namedCommand(command: Command, args: readonly string[]): Command {
  const named = command.commands.find((candidate) => candidate.name() === args[0]);
  return named ? namedCommand(named, args.slice(1)) : command;
}

/** "kraken eval perplexity" */
function fullName(command: Command): string {
  return command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name();
}

/** How many words name it. */
const depth = (command: Command): number => (command.parent ? depth(command.parent) + 1 : 0);

/** Whether stdout is for JSON: where `--json` takes a file, and has one, it is not. */
function wantsJson(args: readonly string[], command: Command): boolean {
  const end = args.indexOf("--");
  const at = args.slice(0, end < 0 ? args.length : end).indexOf("--json");
  const takesFile = command.options.some((option) => option.long === "--json" && option.optional);
  return at >= 0 && !(takesFile && args[at + 1] !== undefined && !args[at + 1]!.startsWith("-"));
}

/** @throws UsageError for a word that names no command where one is wanted, also before --help */
function checkCommand(command: Command, args: readonly string[]): void {
  if (command.commands.length === 0) return;
  const [word, ...rest] = args;
  if (word === undefined || word === "help" || word.startsWith("-")) return;
  const named = command.commands.find((candidate) => candidate.name() === word);
  if (named) {
    checkCommand(named, rest);
    return;
  }
  const meant = closest(word, [...command.commands.map((candidate) => candidate.name()), "help"]);
  throw new UsageError(`unknown command '${word}'${meant ? `\n(Did you mean ${meant}?)` : ""}`);
}

/** Prints why the command failed; returns its exit code. */
function report(error: unknown, args: readonly string[], command: Command, context: Context): number {
  if (error instanceof BrokenPipe) return exitCodes.ok;
  if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok; // help or version was printed
  const flags = new Set(command.options.flatMap((option) => option.long ?? []));
  const failure = failureOf(error, fullName(command), flags);
  if (wantsJson(args, command)) {
    printJson(context.stdout, { error: { code: failure.code, message: failure.message } });
  } else if (failure.code === "ERR_INTERRUPTED") {
    context.stderr.write(`${failure.message}\n`);
  } else {
    const hint = failure.hint ? `\n${failure.hint}` : "";
    context.stderr.write(`error: ${failure.message}\ncode: ${failure.code}${hint}\n`);
  }
  if (process.env.KRAKEN_DEBUG === "1" && error instanceof Error) {
    for (let e: unknown = error; e instanceof Error; e = e.cause) context.stderr.write(`${e.stack}\n`);
  }
  return failure.exitCode;
}

/** Runs `kraken ...args`; returns the exit code and never throws. */
export async function run(args: readonly string[], context: Context): Promise<number> {
  const program = makeProgram(context);
  const words = args[0] === "help" ? [...args.slice(1), "--help"] : args;
  const command = namedCommand(program, words);
  if (words.length === depth(command) && command.commands.length > 0) {
    context.stderr.write(`${command.helpInformation()}${command === program ? epilogue : ""}`);
    return exitCodes.usage;
  }
  try {
    checkCommand(program, words);
    return await underMpi(command, context, async () => {
      await program.parseAsync(words, { from: "user" });
      return context.exitCode ?? exitCodes.ok;
    });
  } catch (error) {
    // Whatever an abort made fail, the reason is the abort.
    const reason = context.signal.aborted ? context.signal.reason : error;
    return report(reason, args, command, context);
  }
}
