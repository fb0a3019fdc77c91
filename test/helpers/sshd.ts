/**
 * A host that is reached by ssh: Debian's sshd on another address of this machine, with keys and a configuration of its own
 * and a folder that is not this machine's. Nothing of the user's own ssh is read or written.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const program = "/usr/sbin/sshd";

/** Why there can be none here; undefined where it can. */
export function withoutSshd(): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    return "a host with a folder of its own is a mount namespace, which takes Linux and root";
  }
  if (!existsSync(program)) return `${program} is not installed (Debian: openssh-server)`;
  const { status, stderr } = spawnSync("unshare", ["-m", "true"], { encoding: "utf8" });
  return status === 0 ? undefined : `no mount namespaces: ${stderr.trim()}`;
}

async function freePort(address: string): Promise<number> {
  const server = createServer().listen(0, address);
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

export class SshHost implements AsyncDisposable {
  readonly address = "127.0.0.2";
  /** What stands there at this path is not what stands here. */
  readonly folder: string;
  readonly #root = mkdtempSync(join(tmpdir(), "kraken-sshd-"));
  #port = 0;
  #child: ChildProcess | undefined;

  constructor() {
    this.folder = join(this.#root, "engines");
    mkdirSync(this.folder);
  }

  get #known() {
    return join(this.#root, "known_hosts");
  }

  static async start(): Promise<SshHost> {
    const host = new SshHost();
    const at = (name: string) => join(host.#root, name);
    for (const key of ["host", "user"])
      spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", at(key)]);
    host.#port = await freePort(host.address);
    const [, publicKey] = readFileSync(at("host.pub"), "utf8").split(" ");
    writeFileSync(host.#known, `[${host.address}]:${host.#port} ssh-ed25519 ${publicKey}\n`);
    writeFileSync(
      at("sshd_config"),
      [
        `Port ${host.#port}`,
        `ListenAddress ${host.address}`,
        `HostKey ${at("host")}`,
        `AuthorizedKeysFile ${at("user.pub")}`,
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
      ].join("\n"),
    );
    // It wants /run/sshd, which only exists where it runs as a service.
    const script = `mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount -t tmpfs tmpfs '${host.folder}' && exec "$@"`;
    const server = [program, "-D", "-e", "-f", at("sshd_config")];
    host.#child = spawn("unshare", ["-m", "sh", "-c", script, "sh", ...server], { stdio: "ignore" });
    for (let tries = 0; !(await host.#answers()); tries++) {
      if (tries < 100 && host.#child.exitCode === null) await sleep(50);
      else {
        await host[Symbol.asyncDispose]();
        throw new Error("sshd does not start");
      }
    }
    return host;
  }

  async #answers(): Promise<boolean> {
    const socket = connect(this.#port, this.address);
    const answered = await Promise.race([
      once(socket, "data").then(() => true),
      once(socket, "close").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    return answered;
  }

  /** A launch agent; with other options, one that is let in nowhere. */
  agent({ key = "user", known = this.#known, port = this.#port } = {}): string[] {
    const options = {
      BatchMode: "yes",
      Port: String(port),
      IdentityFile: join(this.#root, key),
      IdentitiesOnly: "yes",
      IdentityAgent: "none",
      UserKnownHostsFile: known,
      GlobalKnownHostsFile: "/dev/null",
    };
    const given = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    return ["ssh", "-F", "/dev/null", ...given];
  }

  /** Runs a command there. */
  run(command: string): string {
    const [ssh, ...words] = this.agent();
    return spawnSync(ssh!, [...words, this.address, command], { encoding: "utf8" }).stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill();
      await once(child, "exit");
    }
    rmSync(this.#root, { recursive: true, force: true });
  }
}
