/** How a command fails: exit codes, and what is printed. */
import { CommanderError } from "commander";
import { ArgumentError, KrakenError } from "../errors.js";

export const exitCodes = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** The command line contradicts itself, where the parser cannot see it. */
export class UsageError extends Error {
  readonly code = "ERR_USAGE";
}

export class Interrupted extends Error {
  readonly code = "ERR_INTERRUPTED";
  constructor(
    signal: NodeJS.Signals,
    readonly exitCode: number,
  ) {
    super(`interrupted (${signal})`);
  }
}

/** Nobody reads stdout any more (`| head`): not a failure. */
export class BrokenPipe extends Error {}

export interface Failure {
  exitCode: number;
  code: string;
  message: string;
  /** Said after message and code. */
  hint?: string;
}

const flagOf = (name: string) => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The library speaks of `maxTokens`, the command of --max-tokens. */
function inFlags(message: string, flags: ReadonlySet<string>): string {
  return message.replaceAll(/`([a-zA-Z]+)`/g, (quoted, name: string) => {
    const flag = name === "overwrite" ? "--force" : flagOf(name);
    return flags.has(flag) ? flag : quoted;
  });
}

/** `flags`: the long flags of the command that failed. */
export function failureOf(error: unknown, command: string, flags: ReadonlySet<string>): Failure {
  if (error instanceof CommanderError) {
    const message = error.message.replace(/^error: /, "");
    return { exitCode: exitCodes.usage, code: "ERR_USAGE", message, hint: `see ${command} --help` };
  }
  if (error instanceof UsageError) {
    return {
      exitCode: exitCodes.usage,
      code: error.code,
      message: error.message,
      hint: `see ${command} --help`,
    };
  }
  if (error instanceof Interrupted) {
    return { exitCode: error.exitCode, code: error.code, message: error.message };
  }
  if (error instanceof KrakenError) {
    const exitCode = error instanceof ArgumentError ? exitCodes.usage : exitCodes.failure;
    const failure = { exitCode, code: error.code, message: inFlags(error.message, flags) };
    return error.code === "ERR_INTERNAL" ? { ...failure, hint: reportHint } : failure;
  }
  const message = error instanceof Error ? error.message : String(error);
  return { exitCode: exitCodes.failure, code: "ERR_INTERNAL", message, hint: reportHint };
}

const reportHint =
  "this is a bug: please report it with the output of `kraken doctor` (KRAKEN_DEBUG=1 shows where)";
