/** kraken serve: an OpenAI-compatible server in front of an engine, until it is told to end. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import type { Engine } from "../../engine.js";
import { RuntimeError } from "../../errors.js";
import { withIoErrors } from "../../io-error.js";
import type { LogLevel, ServerOptions } from "../../server/index.js";
import type { Context } from "../context.js";
import { addEngineFlags, type EngineFlags, engineDirectory, loadOptions } from "../engine-flags.js";
import { UsageError } from "../failure.js";
import { addFlag, choice, integer, list, number } from "../flags.js";
import { printJson } from "../output.js";

interface Flags extends EngineFlags {
  host?: string;
  port?: number;
  modelName?: string;
  apiKeyFile?: string;
  corsOrigin?: string[];
  page?: boolean;
  maxQueue?: number;
  maxRequests?: number;
  maxConnections?: number;
  maxBodyBytes?: number;
  maxPromptTokens?: number;
  maxOutputTokens?: number;
  deadline?: number;
  drain?: number;
  onRankLost?: "exit" | "reload";
  logLevel?: LogLevel;
  logPrompts?: true;
  json?: true;
}

const help = `
Examples:
  kraken serve engines/demo
  curl http://127.0.0.1:8000/v1/completions -H 'content-type: application/json' \\
    -d '{"prompt": "In the beginning", "max_tokens": 64, "stream": true}'
  kraken serve engines/demo --isolation process --on-rank-lost reload --host 0.0.0.0 --api-key-file keys

Clients of OpenAI's API work with base URL http://127.0.0.1:8000/v1; a page to try the model is at /.
API keys come from --api-key-file (one on a line) or KRAKEN_API_KEY. Logs (JSON) go to stderr.
Ctrl-C or SIGTERM: no more requests are taken, those that run end (--drain). Again: at once.
`;

export function addServe(program: Command, context: Context): void {
  const command = program
    .command("serve")
    .description("serve an engine over HTTP, to clients of OpenAI's API")
    .argument("[engine]", "engine directory")
    .addHelpText("after", help.trimEnd());
  command.optionsGroup("Server:");
  addFlag(command, "--host <address>", "where to listen (default: 127.0.0.1, this machine only)");
  addFlag(command, "--port <n>", "0: any that is free (default: 8000)", { parse: integer });
  addFlag(command, "--model-name <name>", "what clients call it (default: the directory's name)", {
    aliases: ["--served-model-name", "--served_model_name"],
  });
  addFlag(command, "--api-key-file <file>", "keys, one on a line: clients must have one of them", {
    env: false,
  });
  addFlag(command, "--cors-origin <origin>", "pages of this origin may ask, too; may be repeated", {
    parse: list,
    env: false,
  });
  command.option("--no-page", "no page at /");
  addLimitFlags(command);
  addEngineFlags(command);
  command.optionsGroup("Run:");
  addFlag(
    command,
    "--on-rank-lost <what>",
    "exit: end with code 1; reload: load the engine again (default: exit)",
    {
      parse: choice(["exit", "reload"]),
    },
  );
  addFlag(command, "--log-level <level>", "silent, fatal, error, warn, info, debug or trace (default: info)");
  addFlag(command, "--log-prompts", "log what clients send, too");
  addFlag(command, "--json", "print one JSON document when it serves: url and model");
  command.helpOption("-h, --help", "show help");
  command.action((engine: string | undefined, flags: Flags) =>
    serve(engineDirectory(engine, flags), flags, context),
  );
}

function addLimitFlags(command: Command): void {
  command.optionsGroup("Limits:");
  addFlag(command, "--max-queue <n>", "requests that wait for the engine; beyond: 429 (default: 1024)", {
    parse: integer,
  });
  addFlag(command, "--max-requests <n>", "requests at the same time; beyond: 429 (default: 256)", {
    parse: integer,
  });
  addFlag(command, "--max-connections <n>", "connections at the same time (default: 1024)", {
    parse: integer,
  });
  addFlag(command, "--max-body-bytes <n>", "largest body (default: 1048576)", { parse: integer });
  addFlag(command, "--max-prompt-tokens <n>", "longest prompt (default: what the engine takes)", {
    parse: integer,
    aliases: ["--max-input-len", "--max_input_len"],
  });
  addFlag(command, "--max-output-tokens <n>", "longest output (default: what the engine takes)", {
    parse: integer,
  });
  addFlag(command, "--deadline <seconds>", "longest time of a request (default: 600)", { parse: number });
  addFlag(command, "--drain <seconds>", "how long requests may still run at the end (default: 30)", {
    parse: number,
  });
}

/** @throws UsageError, RuntimeError ERR_IO */
async function apiKeys({ apiKeyFile }: Flags): Promise<string[] | undefined> {
  const variable = process.env.KRAKEN_API_KEY;
  if (apiKeyFile === undefined) return variable ? [variable] : undefined;
  const text = await withIoErrors(`read ${apiKeyFile}`, () => readFile(apiKeyFile, "utf8"));
  const keys = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (keys.length === 0) throw new UsageError(`${apiKeyFile} has no key: put one on a line`);
  return variable ? [...keys, variable] : keys;
}

async function serve(directory: string, flags: Flags, context: Context): Promise<void> {
  const keys = await apiKeys(flags);
  const [{ Engine }, { createServer }] = await Promise.all([
    context.library.engine(),
    context.library.server(),
  ]);
  const load = () => Engine.load(directory, { ...loadOptions(flags, context), maxQueue: flags.maxQueue });
  const engine = await load();
  try {
    await run(engine, load, keys, flags, context, createServer);
  } finally {
    await engine.dispose();
  }
}

async function run(
  engine: Engine,
  load: () => Promise<Engine>,
  keys: string[] | undefined,
  flags: Flags,
  { signal, stdout, stderr }: Context,
  createServer: typeof import("../../server/index.js").createServer,
): Promise<void> {
  let end!: (lost?: string) => void;
  const ended = new Promise<string | undefined>((resolve) => {
    end = resolve;
  });
  const options: ServerOptions = {
    modelName: flags.modelName,
    apiKeys: keys,
    corsOrigins: flags.corsOrigin,
    page: flags.page,
    maxRequests: flags.maxRequests,
    maxConnections: flags.maxConnections,
    maxBodyBytes: flags.maxBodyBytes,
    maxPromptTokens: flags.maxPromptTokens,
    maxOutputTokens: flags.maxOutputTokens,
    deadlineSeconds: flags.deadline,
    drainSeconds: flags.drain,
    logLevel: flags.logLevel,
    logPrompts: flags.logPrompts,
    logStream: stderr,
    processMetrics: true,
    ...(flags.onRankLost === "reload" ? { reload: load } : { onEngineLost: end }),
  };
  const server = await createServer(engine, options);
  signal.addEventListener("abort", () => end());
  if (signal.aborted) end();
  let lost: string | undefined;
  try {
    const url = await server.listen({ host: flags.host, port: flags.port });
    const model = server.modelName;
    if (flags.json) printJson(stdout, { url, model });
    else stdout.write(`${model} is served at ${url}: base URL ${url}/v1, page ${url}/\n`);
    lost = await ended;
  } finally {
    await server.close();
  }
  if (lost !== undefined) throw new RuntimeError("ERR_RANK_LOST", lost);
}
