/** buildEngine(): from a checkpoint to an engine directory. */
import { copyFile, readdir, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import {
  type BuildOptions,
  type BuildPlan,
  type BuildSummary,
  buildOptionNames,
  planOf,
  type ResolvedBuild,
  resolveBuild,
} from "./build-options.js";
import type { TokenizerSource } from "./checkpoint/checkpoint-index.js";
import {
  type EngineFile,
  type EngineManifest,
  type EngineTokenizer,
  formatVersion,
  manifestName,
  serializeManifest,
} from "./engine-directory.js";
import { ArgumentError, fromNative } from "./errors.js";
import { sha256OfFiles } from "./file-hash.js";
import { withIoErrors } from "./io-error.js";
import { type NativeAddon, native } from "./native.js";
import { booleanOption, checkKeys, optionError, shown, signalOption } from "./options.js";
import { checkOutput, openOutputDirectory } from "./output-directory.js";
import { type TensorRtFacts, timingsDirectory } from "./tensorrt.js";
import type { TrtLlmConfig } from "./trtllm/config.js";
import { findTrtLlm } from "./trtllm/install.js";
import { joined } from "./trtllm/worker.js";
import { version } from "./version.js";

export type { BuildOptions, BuildPlan, BuildProgress, BuildSummary } from "./build-options.js";

/** Writes rank0.engine … ; progress comes with the addon's pace. Returns what the backend adds to the manifest. */
async function writeRanks(
  build: ResolvedBuild,
  directory: string,
  { signal, onProgress }: BuildOptions,
  addon: NativeAddon,
): Promise<Pick<EngineManifest, "tensorrt"> & Partial<TrtLlmConfig>> {
  const { config, ranks, dtype, checkpoint, backend, ranksPerDevice, limits } = build;
  const { tensors } = checkpoint;
  const communication = build.communication !== "none";
  const weightBytes = build.perRank.reduce((sum, rank) => sum + rank.weightBytes, 0);
  // Its TensorRT, and its plugins with attention.
  const installed = build.theirs && (await findTrtLlm());
  const compiling = {
    backend,
    communication,
    ranksPerDevice,
    ...limits,
    trtllmMaxInput: build.theirs?.maxInputLength ?? 0,
    gatherContextLogits: build.theirs?.gatherContextLogits ?? false,
    libraryPath: installed ? joined(installed.libraryPath, process.env) : "",
    timings: timingsDirectory(),
  };
  signal?.throwIfAborted();
  let task: ReturnType<NativeAddon["build"]> | undefined;
  let callbackError: { error: unknown } | undefined;
  let facts = "";
  const cancel = () => task?.cancel();
  signal?.addEventListener("abort", cancel);
  try {
    task = addon.build({ config, tensors, ranks, dtype, directory, ...compiling }, (progress) => {
      if (signal?.aborted || callbackError) return;
      try {
        const { stage, done, total } = progress;
        const unit = stage === "plans" ? weightBytes : 1;
        onProgress?.({ stage, bytesDone: Math.round(done * unit), bytesTotal: total * unit });
      } catch (error) {
        callbackError = { error };
        task?.cancel();
      }
    });
    facts = await task.done;
  } catch (error) {
    signal?.throwIfAborted();
    if (callbackError) throw callbackError.error;
    throw fromNative(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
  if (callbackError) throw callbackError.error;
  if (facts === "") return {};
  const tensorrt = JSON.parse(facts) as TensorRtFacts;
  if (!build.trtllm) return { tensorrt };
  const kraken = { ...build.trtllm.kraken, plugins: tensorrt.pluginLayers[0] ?? 0 };
  return { tensorrt, ...build.trtllm, kraken, version: installed!.version };
}

function versionsOf(facts: TensorRtFacts | undefined, addon: NativeAddon): Record<string, string> {
  return facts
    ? { TensorRT: facts.version, "kraken-plugins": facts.plugins }
    : addon.capabilities().libraries;
}

async function copyTokenizer(
  source: TokenizerSource | undefined,
  directory: string,
): Promise<EngineTokenizer | null> {
  if (source?.kind !== "file") return source ?? null;
  const { file, configFile } = source;
  await withIoErrors(`copy ${file}`, () => copyFile(file, join(directory, "tokenizer.json")));
  if (configFile === undefined) return { kind: "file", file: "tokenizer.json" };
  await withIoErrors(`copy ${configFile}`, () =>
    copyFile(configFile, join(directory, "tokenizer_config.json")),
  );
  return { kind: "file", file: "tokenizer.json", configFile: "tokenizer_config.json" };
}

/** Sizes and checksums of what lies in the directory, in the order of their names. */
async function describeFiles(
  directory: string,
  { signal, onProgress }: BuildOptions,
): Promise<Record<string, EngineFile>> {
  const names = (await readdir(directory)).sort();
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
  const bytesTotal = sizes.reduce((a, b) => a + b, 0);
  let bytesDone = 0;
  let toldAt = 0;
  const onBytes = (bytes: number) => {
    bytesDone += bytes;
    if (bytesDone < bytesTotal && performance.now() - toldAt < 50) return;
    toldAt = performance.now();
    onProgress?.({ stage: "checksums", bytesDone, bytesTotal });
  };
  const files = names.map((name) => join(directory, name));
  const hashes = await sha256OfFiles(files, { signal, onBytes });
  return Object.fromEntries(names.map((name, i) => [name, { bytes: sizes[i]!, sha256: hashes[i]! }]));
}

/** For tests: buildEngine() over an addon of theirs. */
export async function buildEngineWith(
  addon: NativeAddon,
  options: BuildOptions,
): Promise<BuildPlan | BuildSummary> {
  const started = performance.now();
  checkKeys("buildEngine", options, buildOptionNames);
  const signal = signalOption(options.signal);
  const overwrite = booleanOption("overwrite", options.overwrite, false);
  const dryRun = booleanOption("dryRun", options.dryRun, false);
  if (options.onProgress !== undefined && typeof options.onProgress !== "function") {
    throw optionError("onProgress", "a function", options.onProgress);
  }
  if (!dryRun && (typeof options.output !== "string" || options.output === "")) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`output\` must be the directory to create, got ${shown(options.output)}`,
    );
  }
  signal?.throwIfAborted();
  const output = options.output === undefined ? undefined : resolve(options.output);
  if (output !== undefined && !dryRun) await checkOutput(output, overwrite);
  const build = await resolveBuild(options, addon);
  signal?.throwIfAborted();
  if (dryRun || output === undefined) return planOf(build);

  const directory = await openOutputDirectory(output, overwrite);
  try {
    const compiled = await writeRanks(build, directory.temporary, options, addon);
    const tokenizer = await copyTokenizer(build.checkpoint.tokenizer, directory.temporary);
    const files = await withIoErrors(`read back ${directory.temporary}`, () =>
      describeFiles(directory.temporary, options),
    );
    const { config, checkpoint } = build;
    const manifest: EngineManifest = {
      format: "kraken-engine",
      formatVersion,
      createdBy: `kraken-engine ${version}`,
      source: build.source,
      architecture: config.architecture,
      config,
      ranks: build.ranks,
      dtype: build.dtype,
      backend: build.backend,
      communication: build.communication,
      padding: {},
      versions: versionsOf(compiled.tensorrt, addon),
      tokenizer,
      eosTokenIds: checkpoint.eosTokenIds,
      ...(checkpoint.bosTokenId === undefined ? {} : { bosTokenId: checkpoint.bosTokenId }),
      ...compiled,
      files,
    };
    const text = serializeManifest(manifest);
    await withIoErrors(`write ${output}`, () => writeFile(join(directory.temporary, manifestName), text));
    signal?.throwIfAborted();
    await directory.commit();
    return {
      ...planOf(build),
      directory: output,
      bytes: Object.values(files).reduce((sum, file) => sum + file.bytes, Buffer.byteLength(text)),
      files,
      seconds: (performance.now() - started) / 1000,
    };
  } catch (error) {
    await directory.discard();
    throw error;
  }
}

/**
 * Builds an engine directory from a checkpoint, or from random weights. The directory appears whole or not at all.
 *
 *     await buildEngine({ checkpoint: "ckpt.pt", output: "engines/demo", ranks: 2, dtype: "bfloat16" });
 *
 * @throws KrakenError ERR_OPTION, ERR_RANKS (says which counts would work), ERR_CONTEXT_LENGTH; ERR_CHECKPOINT_* and
 *   ERR_CONFIG when the checkpoint cannot be used; ERR_ENGINE_PATH when the output exists; ERR_IO (disk full,
 *   permissions); ERR_BACKEND_UNAVAILABLE, ERR_BACKEND_FAILED, ERR_OUT_OF_MEMORY (of a GPU), ERR_NATIVE_LOAD (no
 *   kraken-worker to compile in); the signal's reason when aborted
 */
export function buildEngine(options: BuildOptions & { dryRun: true }): Promise<BuildPlan>;
export function buildEngine(options: BuildOptions & { dryRun?: false | undefined }): Promise<BuildSummary>;
export function buildEngine(options: BuildOptions): Promise<BuildPlan | BuildSummary>;
export async function buildEngine(options: BuildOptions): Promise<BuildPlan | BuildSummary> {
  return buildEngineWith(native(), options);
}
