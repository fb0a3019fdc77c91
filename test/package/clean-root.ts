/**
 * A Debian of the oldest release the prebuilt binaries run on, without compilers, beside the machine's own Node: made once
 * by debootstrap and kept. What runs in it sees no network and no process of the machine.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

const suite = "bookworm";
export const place = join(
  process.env.XDG_CACHE_HOME || join(homedir(), ".cache"),
  ...["kraken-engine", "clean-root", suite],
);

const runs = (program: string, ...args: string[]) =>
  spawnSync(program, args, { stdio: "ignore" }).status === 0;

/** Why there can be none here; "" when there can. */
export function obstacle(): string {
  if (process.platform !== "linux") return "this is not Linux";
  if (process.getuid?.() !== 0) return "it takes root to make one";
  if (!runs("unshare", "--mount", "--net", "--pid", "--fork", "true")) return "unshare is not allowed here";
  if (!existsSync(place) && !runs("debootstrap", "--version")) {
    return "debootstrap is not installed (apt-get install debootstrap)";
  }
  return "";
}

/** Makes it where it is missing. @throws what debootstrap said */
export function makeRoot(): void {
  if (!existsSync(place)) {
    const temporary = `${place}.partial`;
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(dirname(place), { recursive: true });
    execFileSync("debootstrap", ["--variant=minbase", suite, temporary], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    renameSync(temporary, place);
  }
  // Node as its own download has it: the program, and npm.
  const node = realpathSync(process.execPath);
  copyFileSync(node, join(place, "usr", "bin", "node"));
  const npm = dirname(dirname(realpathSync(execFileSync("which", ["npm"], { encoding: "utf8" }).trim())));
  const modules = join(place, "usr", "lib", "node_modules");
  rmSync(modules, { recursive: true, force: true });
  cpSync(npm, join(modules, "npm"), { recursive: true });
}

/** `npm` in there, as a shell function. */
const prelude = `
set -e
export HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8
mount -t proc proc /proc
npm() { node /usr/lib/node_modules/npm/bin/npm-cli.js "$@"; }
npx() { node /usr/lib/node_modules/npm/bin/npx-cli.js "$@"; }
`;

/** Runs a shell script below `directory`, a path inside the root. */
export function inRoot(directory: string, script: string, env: Record<string, string> = {}) {
  const flags = ["--mount", "--net", "--pid", "--fork", "chroot", place, "sh", "-c"];
  const { status, stdout, stderr } = spawnSync(
    "unshare",
    [...flags, `${prelude}cd ${directory}\n${script}`],
    {
      encoding: "utf8",
      env: { PATH: process.env.PATH, ...env },
      timeout: 120_000,
    },
  );
  return { status, stdout, stderr };
}

export const glibcOfRoot = () =>
  /^Version: (.+)$/m.exec(
    readFileSync(join(place, "var", "lib", "dpkg", "status"), "utf8").split("Package: libc6\n")[1] ?? "",
  )?.[1];
