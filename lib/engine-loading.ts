/**
 * From an engine directory to what an Engine is made of. The weights are packed while their files are being hashed: both
 * take about as long, and a load that fails or is aborted ends everything it began before it rejects.
 */
import { resolve } from "node:path";
import {
  checkBackend,
  type EngineManifest,
  readManifest,
  verifyHashes,
  verifySizes,
} from "./engine-directory.js";
import { executorOptions, type LoadOptions, resolveLoad } from "./engine-options.js";
import { ArgumentError, fromNative, RuntimeError } from "./errors.js";
import {
  type NativeAddon,
  type NativeExecutor,
  type NativeExecutorOptions,
  type NativeLaunch,
  native,
} from "./native.js";
import { RequestTable } from "./requests.js";
import { loadTokenizer, type Tokenizer } from "./tokenizer.js";
import { shownLaunch, trtllmLaunch } from "./trtllm/launch.js";

/** What an Engine is made of; tests make one over an executor of theirs. */
export interface EngineParts {
  directory: string;
  manifest: EngineManifest;
  tokenizer: Tokenizer | undefined;
  maxSequenceLength: number;
  executor: NativeExecutor;
  requests: RequestTable;
}

/** @throws what Engine.load() does */
export async function loadEngine(directory: string, options: LoadOptions): Promise<EngineParts> {
  const { verify, backend, hosts, signal, onLaunch } = resolveLoad(options);
  signal?.throwIfAborted();
  if (typeof directory !== "string" || directory === "") {
    throw new ArgumentError("ERR_OPTION", "Engine.load needs the path of an engine directory");
  }
  const path = resolve(directory);
  const manifest = await readManifest(path);
  const addon = native();
  const launch = await available(path, manifest, addon, backend);
  const choices = { ...executorOptions(path, manifest, options), ...(launch && { launch }) };
  if (launch) onLaunch?.(shownLaunch(launch));
  const here = hosts || choices.attach !== undefined ? withoutOtherRanks(manifest) : manifest;
  await verifySizes(path, here);

  const failed = new AbortController();
  const stop = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const orStop = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error) => {
      failed.abort(error);
      throw error;
    });
  const requests = new RequestTable();
  const verifying = orStop(verify ? verifyHashes(path, here, stop) : Promise.resolve());
  const loading = orStop(loadExecutor(addon, choices, requests, stop));
  const tokenizing = orStop(loadEngineTokenizer(path, manifest, verifying));
  const [executor, tokenizer] = await Promise.allSettled([loading, tokenizing, verifying]);
  if (executor.status === "fulfilled" && tokenizer.status === "fulfilled" && !stop.aborted) {
    const { maxSequenceLength } = choices;
    return {
      directory: path,
      manifest,
      tokenizer: tokenizer.value,
      maxSequenceLength,
      executor: executor.value,
      requests,
    };
  }
  if (executor.status === "fulfilled") await executor.value.shutdown();
  throw stop.reason;
}

/** The files that this host needs: every other one looks at its own. */
function withoutOtherRanks(manifest: EngineManifest): EngineManifest {
  const own = Object.entries(manifest.files).filter(([name]) => !/^rank[1-9]\d*\.engine$/.test(name));
  return { ...manifest, files: Object.fromEntries(own) };
}

/** What starts the ranks, for a backend whose ranks are no threads of ours. */
async function available(
  path: string,
  manifest: EngineManifest,
  addon: NativeAddon,
  wanted: string | undefined,
): Promise<NativeLaunch | undefined> {
  const { backends } = addon.capabilities();
  checkBackend(path, manifest, wanted, Object.keys(backends));
  if (manifest.backend === "tensorrt-llm") return trtllmLaunch(path, manifest, addon);
  const capability = backends[manifest.backend]!;
  if (capability.available) return undefined;
  throw new RuntimeError(
    "ERR_BACKEND_UNAVAILABLE",
    `${path} needs backend "${manifest.backend}", which is not available: ${capability.reason}`,
  );
}

async function loadExecutor(
  addon: NativeAddon,
  options: NativeExecutorOptions,
  requests: RequestTable,
  signal: AbortSignal,
): Promise<NativeExecutor> {
  const { done, cancel } = addon.Executor.load(options, requests.receive);
  signal.addEventListener("abort", cancel);
  try {
    return await done;
  } catch (error) {
    throw fromNative(error);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/** Files of the directory are parsed once they are known to be whole. */
async function loadEngineTokenizer(
  directory: string,
  { tokenizer }: EngineManifest,
  verified: Promise<void>,
): Promise<Tokenizer | undefined> {
  if (!tokenizer) return undefined;
  if (tokenizer.kind !== "file") return loadTokenizer(tokenizer);
  await verified;
  const { file, configFile } = tokenizer;
  return loadTokenizer({
    kind: "file",
    file: resolve(directory, file),
    ...(configFile === undefined ? {} : { configFile: resolve(directory, configFile) }),
  });
}
