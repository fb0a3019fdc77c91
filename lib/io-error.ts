/** Failures of the file system as KrakenErrors that say what was being done and what would help. */
import { RuntimeError } from "./errors.js";

const causes: Record<string, string> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EFBIG: "the file would exceed the size limit",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOENT: "no such file or directory",
  ENOTDIR: "part of the path is a file, not a directory",
  ENAMETOOLONG: "the name is too long",
  EMFILE: "too many open files",
};

function isErrno(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).errno === "number";
}

/** `error` as ERR_IO if the file system gave it, otherwise as it is. `doing` completes "cannot …". */
export function ioError(error: unknown, doing: string): unknown {
  if (!isErrno(error)) return error;
  const cause = causes[error.code] ?? error.message;
  return new RuntimeError("ERR_IO", `cannot ${doing}: ${cause} (${error.code})`, { cause: error });
}

/** Runs `work`; failures of the file system become ERR_IO. */
export async function withIoErrors<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw ioError(error, doing);
  }
}

export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}
