/**
 * Puts an engine where its other ranks run: on each host the manifest, the tokenizer and the files of its own ranks, at the
 * same path as here. By tar over the launch agent, into a sibling that replaces the directory when it is whole; a host that
 * has the same engine already (a shared folder, say) is left alone.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { manifestName, readManifest } from "./engine-directory.js";
import { RuntimeError } from "./errors.js";
import { checkRanks, type HostOptions, parseHosts } from "./hosts.js";
import { optionError } from "./options.js";

/** How {@link pushEngine} reaches the hosts. */
export interface PushOptions extends Pick<HostOptions, "launchAgent"> {
  /** As for Engine.load(). */
  hosts: string | readonly string[];
  signal?: AbortSignal | undefined;
}

/** What a host got. */
export interface Pushed {
  host: string;
  /** Names of the files that the host needs. */
  files: string[];
  /** false: it had them. */
  written: boolean;
}

/** As for the ranks that Engine.load() starts: nobody is there to type a password. */
const ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"];

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** What runs there. Prints "there" where nothing is to be done. */
function script(directory: string, digest: string, files: readonly string[]): string {
  const target = quoted(directory);
  const temporary = quoted(`${directory}.pushed-${process.pid}`);
  const present = files.map((file) => `[ -e ${target}/${quoted(file)} ]`).join(" && ");
  return [
    `if [ "$(sha256sum <${target}/${manifestName} 2>/dev/null | cut -c1-64)" = ${digest} ] && ${present}`,
    "then cat >/dev/null; echo there; exit 0; fi",
    `trap 'rm -rf ${temporary.replaceAll("'", "'\\''")}' EXIT`,
    `mkdir -p ${quoted(dirname(directory))} && mkdir ${temporary} && tar -xf - -C ${temporary} && rm -rf ${target} && mv ${temporary} ${target} || exit 1`,
  ].join("\n");
}

async function pushTo(
  host: string,
  launchAgent: readonly string[],
  directory: string,
  files: readonly string[],
  digest: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const [agent, ...words] = launchAgent.length > 0 ? launchAgent : ssh;
  const there = ["sh", "-c", script(directory, digest, files)];
  // ssh gives its words to a shell.
  const command = basename(agent!) === "ssh" ? there.map(quoted) : there;
  const tar = spawn("tar", ["-cf", "-", "-C", directory, ...files], {
    stdio: ["ignore", "pipe", "inherit"],
    signal,
  });
  const receiver = spawn(agent!, [...words, host, ...command], { stdio: ["pipe", "pipe", "pipe"], signal });
  let said = "";
  let complaint = "";
  receiver.stdout.on("data", (data) => {
    said += data;
  });
  receiver.stderr.on("data", (data) => {
    complaint += data;
  });
  // Where the receiver ends early, its exit code says why; tar must not be left with what nobody takes.
  pipeline(tar.stdout, receiver.stdin).catch(() => {});
  const ended = await Promise.all(
    [tar, receiver].map(async (child) => {
      try {
        return (await once(child, "close"))[0] as number | null;
      } catch (error) {
        signal?.throwIfAborted();
        return error instanceof Error ? error.message : String(error);
      }
    }),
  );
  if (ended.every((code) => code === 0)) return said.trim() !== "there";
  throw new RuntimeError(
    "ERR_HOSTS",
    `${directory} could not be put on ${host}: ${complaint.trim() || `${agent} ended with ${ended[1]}, tar with ${ended[0]}`}`,
  );
}

/**
 * @throws KrakenError ERR_OPTION, ERR_RANKS; ERR_ENGINE_* (see readManifest); ERR_HOSTS naming the host; the signal's
 *   reason when aborted
 */
export async function pushEngine(directory: string, options: PushOptions): Promise<Pushed[]> {
  const { signal } = options;
  const hosts = parseHosts({ hosts: options.hosts, launchAgent: options.launchAgent });
  if (!hosts)
    throw optionError("hosts", 'hosts and how many ranks each runs, as in "a:1,b:1"', options.hosts);
  const path = resolve(directory);
  const manifest = await readManifest(path);
  checkRanks(hosts, manifest.ranks, path);
  const digest = createHash("sha256")
    .update(await readFile(join(path, manifestName)))
    .digest("hex");
  const shared = Object.keys(manifest.files).filter((file) => !/^rank\d+\.engine$/.test(file));
  const pushed: Pushed[] = [];
  for (const host of new Set(hosts.byRank)) {
    if (host === hosts.byRank[0]) continue;
    const own = hosts.byRank.flatMap((name, rank) => (name === host ? [`rank${rank}.engine`] : []));
    const files = [manifestName, ...shared, ...own];
    signal?.throwIfAborted();
    const written = await pushTo(host, hosts.launchAgent, path, files, digest, signal);
    pushed.push({ host, files, written });
  }
  return pushed;
}
