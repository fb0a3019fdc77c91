/** The packed package, and a project that has it installed: shared by the tests of this folder. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

export const root = join(import.meta.dirname, "..", "..");

export function tarball(): string {
  const path = process.env.KRAKEN_TARBALL;
  if (!path) throw new Error("no package to test: run `npm run test:package`");
  return path;
}

export const npmInstall = (directory: string, ...args: string[]) =>
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", ...args], {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });

/** An empty project below a new temporary directory, with the tarball beside its package.json. */
export function emptyProject(name: string): string {
  const directory = join(mkdtempSync(join(tmpdir(), "kraken-package-")), name);
  mkdirSync(directory);
  writeFileSync(
    join(directory, "package.json"),
    `${JSON.stringify({ name, version: "1.0.0", private: true, type: "module" })}\n`,
  );
  return directory;
}

export function run(directory: string, program: string, ...args: string[]): string {
  return execFileSync(program, args, {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 120_000,
  });
}

export const tarballName = () => basename(tarball());
