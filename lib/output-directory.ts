/**
 * Writes a directory so that it appears whole or not at all: into a temporary sibling, renamed when complete.
 * Whatever goes wrong, nothing of it is left behind, not even the parents that were created for it.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { mkdir, open, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { manifestName } from "./engine-directory.js";
import { EngineDirectoryError } from "./errors.js";
import { hasCode, withIoErrors } from "./io-error.js";

export interface OutputDirectory {
  /** Write here. */
  readonly temporary: string;
  /** Makes it the output: flushed to disk, then renamed. */
  commit(): Promise<void>;
  /** Removes what was written. */
  discard(): Promise<void>;
}

const succeeds = (work: Promise<unknown>) =>
  work.then(
    () => true,
    () => false,
  );

/**
 * Creates what is missing of a path and returns that, outermost first. Not mkdir's own `recursive`, which never
 * returns where parents exist but nothing can be created (/proc), as seen in Node 20.
 */
async function createParents(path: string): Promise<string[]> {
  const missing: string[] = [];
  for (let at = path; !(await succeeds(stat(at))); at = dirname(at)) missing.unshift(at);
  const created: string[] = [];
  try {
    for (const at of missing) {
      await mkdir(at);
      created.push(at);
    }
  } catch (error) {
    for (const at of created.reverse()) await rmdir(at).catch(() => {});
    throw error;
  }
  return created;
}

/**
 * @throws EngineDirectoryError ERR_ENGINE_PATH when the output exists and may not, or must not, be replaced
 */
export async function checkOutput(output: string, overwrite: boolean): Promise<void> {
  const found = await stat(output).catch(() => undefined);
  if (!found) return;
  if (!found.isDirectory()) {
    throw new EngineDirectoryError("ERR_ENGINE_PATH", `output ${output} exists and is not a directory`);
  }
  const entries = await withIoErrors(`read ${output}`, () => readdir(output));
  if (entries.length === 0) return;
  if (!overwrite) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_PATH",
      `output ${output} exists already; choose another, or replace it with overwrite: true (--overwrite)`,
    );
  }
  if (!entries.includes(manifestName)) {
    throw new EngineDirectoryError(
      "ERR_ENGINE_PATH",
      `output ${output} exists and is not an engine (it has no ${manifestName}), so it is not replaced; remove it yourself`,
    );
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Not every file system can flush a directory.
    if (!hasCode(error, "EINVAL", "ENOTSUP", "EBADF")) throw error;
  } finally {
    await handle.close();
  }
}

/** Writes everything in the directory through to the disk. */
async function syncAll(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const handle = await open(join(directory, name), "r+");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  await syncDirectory(directory);
}

/** @throws RuntimeError ERR_IO, with nothing left behind */
export async function openOutputDirectory(output: string, overwrite: boolean): Promise<OutputDirectory> {
  const parent = dirname(output);
  const unique = `${process.pid}-${randomBytes(4).toString("hex")}`;
  const temporary = join(parent, `.${basename(output)}.building-${unique}`);
  const aside = join(parent, `.${basename(output)}.replaced-${unique}`);

  const created = await withIoErrors(`create ${parent}`, () => createParents(parent));
  const removeParents = async () => {
    for (const path of created.reverse()) {
      if (!(await succeeds(rmdir(path)))) return; // someone else uses it
    }
  };
  try {
    await withIoErrors(`create ${temporary}`, () => mkdir(temporary));
  } catch (error) {
    await removeParents();
    throw error;
  }
  // process.exit() in the middle of a build.
  const onExit = () => rmSync(temporary, { recursive: true, force: true });
  process.once("exit", onExit);

  return {
    temporary,
    async commit() {
      await withIoErrors(`write ${output}`, async () => {
        await syncAll(temporary);
        await checkOutput(output, overwrite);
        const replaces = await succeeds(stat(output));
        if (replaces) await rename(output, aside);
        try {
          await rename(temporary, output);
        } catch (error) {
          if (replaces) await rename(aside, output);
          throw error;
        }
        process.off("exit", onExit);
        await syncDirectory(parent);
        if (replaces) await rm(aside, { recursive: true, force: true });
      });
    },
    async discard() {
      process.off("exit", onExit);
      await rm(temporary, { recursive: true, force: true }).catch(() => {});
      await removeParents();
    },
  };
}
