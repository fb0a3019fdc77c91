/**
 * Hosts on one machine: network namespaces with a link between them, of any rate. Two are joined by one link, more by a
 * bridge in a namespace of its own, so nothing of this machine's own network is touched. Needs root and iproute2.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

function ip(...args: string[]): void {
  const { status, stderr, error } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${error?.message ?? stderr.trim()}`);
}

/** Why there can be none here; undefined where they can. */
export function withoutNamespaces(): string | undefined {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  const name = `kraken-probe-${process.pid}`;
  try {
    ip("netns", "add", name);
    ip("-n", name, "link", "add", "name", "veth0", "type", "veth", "peer", "name", "veth1");
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    spawnSync("ip", ["netns", "del", name]);
  }
}

export interface NamespaceOptions {
  count: number;
  /** Of each direction of each host's link, as tc writes it: "1gbit", "100mbit". Default: as fast as it goes. */
  rate?: string | undefined;
  /** Host i runs on core i. Default false. */
  pinned?: boolean;
}

export class Namespaces implements Disposable {
  /** Addresses, one of each host. */
  readonly addresses: string[];
  /** A launch agent that knows these hosts. */
  readonly agent: string;
  readonly #names: string[];
  readonly #folder = mkdtempSync(join(tmpdir(), "kraken-namespaces-"));
  readonly #switch: string | undefined;
  readonly #pinned: boolean;

  constructor({ count, rate, pinned = false }: NamespaceOptions) {
    const prefix = `kraken${process.pid}`;
    this.#pinned = pinned;
    this.#names = Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
    this.addresses = this.#names.map((_, i) => `10.77.0.${i + 1}`);
    this.#switch = count > 2 ? `${prefix}-switch` : undefined;
    try {
      for (const name of [...this.#names, ...(this.#switch ? [this.#switch] : [])]) ip("netns", "add", name);
      this.#connect();
      for (const [i, name] of this.#names.entries()) {
        ip("-n", name, "address", "add", `${this.addresses[i]}/24`, "dev", "eth0");
        ip("-n", name, "link", "set", "lo", "up");
        this.up(i);
        if (rate !== undefined) this.limit(i, rate);
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.agent = this.writeAgent("agent", 'exec "$@"');
  }

  #connect(): void {
    const [a, b] = this.#names as [string, string];
    if (this.#switch === undefined) {
      ip("-n", a, "link", "add", "name", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b);
      return;
    }
    ip("-n", this.#switch, "link", "add", "name", "bridge", "type", "bridge");
    ip("-n", this.#switch, "link", "set", "bridge", "up");
    for (const [i, name] of this.#names.entries()) {
      ip(
        "-n",
        name,
        "link",
        "add",
        "eth0",
        "type",
        "veth",
        "peer",
        "name",
        `port${i}`,
        "netns",
        this.#switch,
      );
      ip("-n", this.#switch, "link", "set", `port${i}`, "master", "bridge");
      ip("-n", this.#switch, "link", "set", `port${i}`, "up");
    }
  }

  /**
   * What a host sends, from now on. The bucket is small: one that holds a whole exchange (256 KB, as tc's examples have)
   * lets it pass at once, whatever the rate. Packets are smaller than the bucket, or it would cut them up, which costs CPU.
   */
  limit(host: number, rate: string): void {
    const bitsPerSecond = Number.parseFloat(rate) * (rate.endsWith("gbit") ? 1e9 : 1e6);
    const burst = Math.max(20_000, Math.round((bitsPerSecond / 8) * 65e-6));
    const name = this.#names[host]!;
    const packet = [65_536, 32_768, 16_384].find((bytes) => 1.2 * bytes < burst)!;
    ip("-n", name, "link", "set", "eth0", "gso_max_size", String(packet));
    const limit = ["tbf", "rate", rate, "burst", String(burst), "latency", "20ms"];
    ip("netns", "exec", name, "tc", "qdisc", "replace", "dev", "eth0", "root", ...limit);
  }

  up(host: number): void {
    ip("-n", this.#names[host]!, "link", "set", "eth0", "up");
  }

  /** Nothing arrives there any more, and nobody is told. */
  down(host: number): void {
    ip("-n", this.#names[host]!, "link", "set", "eth0", "down");
  }

  /** The words before a command that make it run on that host. */
  on(host: number): string[] {
    const pin = this.#pinned ? ["taskset", "-c", String(host)] : [];
    return ["ip", "netns", "exec", this.#names[host]!, ...pin];
  }

  /** A launch agent; `body` is what a shell does on the host with the command, `"$@"`. */
  writeAgent(name: string, body: string): string {
    const remote = join(this.#folder, `${name}-body`);
    writeFileSync(remote, `#!/bin/sh\n${body}\n`);
    const cases = this.addresses.map(
      (address, i) => `${address}) shift; exec ${this.on(i).join(" ")} ${remote} "$@" ;;`,
    );
    const agent = join(this.#folder, name);
    writeFileSync(agent, `#!/bin/sh\ncase "$1" in\n${cases.join("\n")}\n*) exit 113 ;;\nesac\n`);
    for (const file of [remote, agent]) chmodSync(file, 0o755);
    return agent;
  }

  /** Links go with their namespaces. */
  [Symbol.dispose](): void {
    for (const name of [...this.#names, ...(this.#switch ? [this.#switch] : [])]) {
      spawnSync("ip", ["netns", "del", name]);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
