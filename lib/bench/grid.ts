/**
 * From options to what will be run. Models of one comparison are loaded together for each rank count and dtype, and
 * everything that can be wrong with them is found here, before anything is timed.
 */
import { type BuildPlan, buildEngine } from "../build.js";
import { checkBackendAvailable } from "../build-options.js";
import type { EngineManifest } from "../engine-directory.js";
import { ArgumentError, RuntimeError } from "../errors.js";
import { parseHosts } from "../hosts.js";
import type { DType, ModelConfig } from "../model-config.js";
import { native } from "../native.js";
import { randomModel } from "../presets.js";
import { tensorrtName } from "../tensorrt.js";
import { baselineOf, type Comparison, type Contender } from "./contender.js";
import { type Models, readModels } from "./models.js";
import type { Settings } from "./options.js";

/**
 * main: what is compared. bound: the same with its collectives left out. one-rank: the same on one rank with all the
 * threads (of this host), as tensor parallelism repeats work.
 */
export type Role = "main" | "bound" | "one-rank";

/** One engine that is timed. */
export interface Variant {
  label: string;
  model: string;
  config: ModelConfig;
  directory?: string;
  role: Role;
  ranks: number;
  threadsPerRank: number;
}

/** Engines that are loaded together and take turns. */
export interface Setting {
  comparison: string;
  ranks: number;
  dtype: DType;
  /** Label of the contender that speed-ups are over. */
  baseline: string;
  variants: Variant[];
  contexts: number[];
}

export interface GridPlan {
  settings: Settings;
  list: Setting[];
}

/** Positions that a context and the tokens after it need. The last token's are never computed. */
const positionsNeeded = (contexts: readonly number[], outputTokens: number) =>
  Math.max(...contexts) + outputTokens;

/** A random model can have as many positions as are needed: it has learned none. */
export function withRoom(
  config: ModelConfig,
  contexts: readonly number[],
  outputTokens: number,
): ModelConfig {
  return {
    ...config,
    maxPositions: Math.max(config.maxPositions, positionsNeeded(contexts, outputTokens)),
  };
}

function checkEngines(
  engines: Models["engines"],
  ranks: readonly number[],
  dtypes: readonly DType[],
  backend: string,
) {
  for (const { directory, manifest } of engines) {
    const otherRanks = ranks.find((count) => count !== manifest.ranks);
    if (otherRanks !== undefined) {
      throw new ArgumentError(
        "ERR_RANKS",
        `${directory} was built for ${manifest.ranks} ranks and cannot run on ${otherRanks}: ` +
          "rebuild it, or give its own number as `ranks`",
      );
    }
    const otherDType = dtypes.find((dtype) => dtype !== manifest.dtype);
    if (otherDType !== undefined) {
      throw new ArgumentError(
        "ERR_OPTION",
        `${directory} holds ${manifest.dtype} weights and cannot be timed in ${otherDType}`,
      );
    }
    if (manifest.backend !== backend) {
      throw new ArgumentError(
        "ERR_OPTION",
        `${directory} is for backend ${manifest.backend}, not ${backend}`,
      );
    }
  }
}

/** The longest prompt of all of them; an engine's tokens after it need positions, too. */
function longestContext(contenders: readonly Contender[], outputTokens: number): number {
  return Math.min(
    ...contenders.map(({ config, directory }) =>
      directory === undefined ? config.maxPositions : config.maxPositions - outputTokens,
    ),
  );
}

function contextsOf(name: string, contenders: readonly Contender[], settings: Settings): number[] {
  const longest = longestContext(contenders, settings.outputTokens);
  if (settings.context === null) return [...new Set([Math.min(128, longest), longest])];
  const over = settings.context.find((context) => context > longest);
  if (over !== undefined) {
    throw new ArgumentError(
      "ERR_CONTEXT_LENGTH",
      `a context of ${over} tokens is too long for ${name}: at most ${longest} fit`,
    );
  }
  return [...settings.context];
}

function variantsOf(contenders: readonly Contender[], ranks: number, settings: Settings): Variant[] {
  const threadsPerRank = Math.max(1, Math.floor(settings.threads / ranks));
  // One host's, where there are several.
  const byRank = settings.mpi?.split(",") ?? parseHosts({ hosts: settings.hosts ?? undefined })?.byRank;
  const ranksHere = byRank?.filter((host) => host === byRank[0]).length ?? ranks;
  const of = (role: Role, given: boolean) =>
    contenders.map(({ directory, ...rest }): Variant => {
      const split =
        role === "one-rank"
          ? { ranks: 1, threadsPerRank: Math.min(ranksHere * threadsPerRank, settings.threads) }
          : { ranks, threadsPerRank };
      return { ...rest, ...(given && directory !== undefined && { directory }), role, ...split };
    });
  if (ranks === 1) return of("main", true);
  return [...of("main", true), ...of("bound", false), ...of("one-rank", false)];
}

/** Weights packed, weights mapped from their files, and keys and values. */
function bytesNeeded(plan: BuildPlan, tokens: number): number {
  return plan.perRank.reduce(
    (sum, rank) => sum + rank.loadedWeightBytes + 0.2 * rank.weightBytes + rank.kvBytesPerToken * tokens,
    0,
  );
}

async function settingOf(
  comparison: Comparison,
  ranks: number,
  dtype: DType,
  settings: Settings,
): Promise<Setting> {
  const contenders = comparison.contenders(ranks);
  const contexts = contextsOf(comparison.name, contenders, settings);
  const variants = variantsOf(contenders, ranks, settings);
  const tokens = Math.max(...settings.batch) * positionsNeeded(contexts, settings.outputTokens);
  let bytes = 0;
  for (const { config, ranks: count } of variants) {
    const checkpoint = randomModel(withRoom(config, contexts, settings.outputTokens));
    const { backend } = settings;
    bytes += bytesNeeded(
      await buildEngine({ checkpoint, ranks: count, dtype, backend, dryRun: true }),
      tokens,
    );
  }
  // A GPU's memory is checked when engines are loaded.
  const available = settings.backend === tensorrtName ? Number.POSITIVE_INFINITY : process.availableMemory();
  if (bytes > available) {
    const gigabytes = (value: number) => `${(value / 1e9).toFixed(1)} GB`;
    throw new RuntimeError(
      "ERR_OUT_OF_MEMORY",
      `${comparison.name} on ${ranks} ranks needs about ${gigabytes(bytes)} for ${variants.length} engines at once, ` +
        `${gigabytes(available)} are free: take fewer architectures, a part of the layers (\`layersFraction\`), ` +
        "smaller batches or shorter contexts",
    );
  }
  return {
    comparison: comparison.name,
    ranks,
    dtype,
    baseline: baselineOf(contenders)!.label,
    variants,
    contexts,
  };
}

const distinct = <T>(values: readonly T[]) => [...new Set(values)];
const from = <T>(engines: Models["engines"], pick: (manifest: EngineManifest) => T) =>
  distinct(engines.map(({ manifest }) => pick(manifest)));

/**
 * @throws KrakenError ERR_OPTION, ERR_RANKS, ERR_CONTEXT_LENGTH for what cannot be run; ERR_OUT_OF_MEMORY where the
 *   engines that take turns do not fit; what reading an engine's manifest throws
 */
export async function planGrid(settings: Settings): Promise<GridPlan> {
  const { comparisons, engines } = await readModels(settings.models, {
    architectures: settings.architectures,
    ways: settings.ways ?? undefined,
    layersFraction: settings.layersFraction,
  });
  const or = <T>(first: readonly T[] | null, then: readonly T[], last: T) =>
    first ?? (then.length > 0 ? then : [last]);
  const ranks = or(
    settings.ranks,
    from(engines, (manifest) => manifest.ranks),
    2,
  );
  const dtypes = or(
    settings.dtype,
    from(engines, (manifest) => manifest.dtype),
    "bfloat16",
  );
  checkEngines(engines, ranks, dtypes, settings.backend);
  checkBackendAvailable(native(), settings.backend);
  const list: Setting[] = [];
  for (const comparison of comparisons) {
    for (const count of ranks) {
      for (const dtype of dtypes) list.push(await settingOf(comparison, count, dtype, settings));
    }
  }
  return { settings, list };
}
