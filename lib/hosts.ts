/** The hosts of an engine's ranks, as written in options: "a:2,b:2" is ranks 0 and 1 on host a, 2 and 3 on b. */
import { ArgumentError } from "./errors.js";
import { numberOption, optionError } from "./options.js";

export interface HostOptions {
  hosts?: string | readonly string[] | undefined;
  launchAgent?: string | readonly string[] | undefined;
  secret?: string | undefined;
  startTimeout?: number | undefined;
}

export interface Hosts {
  /** The host of each rank. The first is this machine. */
  byRank: string[];
  /** Words of the command that gets HOST COMMAND…; empty for ssh. */
  launchAgent: string[];
  /** "" for a random one. */
  secret: string;
  startSeconds: number;
}

const most = 1024;
/** A secret that can be guessed is none. */
const shortestSecret = 16;

function words(name: string, value: unknown, separator: RegExp, expected: string): string[] {
  const list = typeof value === "string" ? value.split(separator).filter(Boolean) : value;
  const good =
    Array.isArray(list) && list.length > 0 && list.every((word) => typeof word === "string" && word !== "");
  if (!good) throw optionError(name, expected, value);
  return list;
}

/** "a", "a:2", "[fe80::1]:2". What begins with a dash would be an option of ssh. */
function parseHost(entry: string, value: unknown): string[] {
  const [, bracketed, name, ranks] =
    /^(?:\[([0-9a-f:.%\w]+)\]|([^:\s[\]-][^:\s[\]]*))(?::(\d+))?$/i.exec(entry.trim()) ?? [];
  const host = bracketed ?? name;
  const count = ranks === undefined ? 1 : Number(ranks);
  if (host === undefined || count < 1 || count > most) {
    throw optionError("hosts", 'hosts and how many ranks each runs, as in "a:1,b:1"', value);
  }
  return Array<string>(count).fill(host);
}

/**
 * @returns undefined where all ranks run here
 * @throws ArgumentError ERR_OPTION
 */
export function parseHosts(options: HostOptions): Hosts | undefined {
  const { hosts, launchAgent, secret = process.env.KRAKEN_SECRET ?? "", startTimeout } = options;
  if (hosts === undefined) {
    for (const name of ["launchAgent", "secret", "startTimeout"] as const) {
      if (options[name] === undefined) continue;
      throw new ArgumentError("ERR_OPTION", `\`${name}\` is of use only with \`hosts\``);
    }
    return undefined;
  }
  const entries = words("hosts", hosts, /,/, 'hosts and how many ranks each runs, as in "a:1,b:1"');
  const byRank = entries.flatMap((entry) => parseHost(entry, hosts));
  if (byRank.length > most) throw optionError("hosts", `hosts of at most ${most} ranks`, hosts);
  if (
    typeof secret !== "string" ||
    /[\r\n\0]/.test(secret) ||
    (secret !== "" && secret.length < shortestSecret)
  ) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`secret\` must be a line of at least ${shortestSecret} characters, or left out for a random one`,
    );
  }
  return {
    byRank,
    launchAgent:
      launchAgent === undefined
        ? []
        : words("launchAgent", launchAgent, /\s+/, 'a command that gets HOST COMMAND…, as in "ssh -p 2222"'),
    secret,
    startSeconds: numberOption("startTimeout", startTimeout, {
      expected: "a number of seconds from 0.1 to 3600",
      accept: (seconds) => seconds >= 0.1 && seconds <= 3600,
      fallback: 20,
    }),
  };
}

/** @throws ArgumentError ERR_RANKS */
export function checkRanks(hosts: Hosts, ranks: number, directory: string): void {
  if (hosts.byRank.length === ranks) return;
  const there = [...new Set(hosts.byRank)].length;
  throw new ArgumentError(
    "ERR_RANKS",
    `\`hosts\` has places for ${hosts.byRank.length} ranks on ${there} hosts, but ${directory} has ${ranks}: ` +
      `give that many, or build with --ranks ${hosts.byRank.length}`,
  );
}
