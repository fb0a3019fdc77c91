/** What an engine is built from: a checkpoint, a preset's random weights, or a model of the paper. */
import { paperComparison } from "./bench/paper.js";
import type { BuildOptions } from "./build.js";
import type { CheckpointIndex, TensorView } from "./checkpoint/checkpoint-index.js";
import { openCheckpoint } from "./checkpoint/open.js";
import { ArgumentError } from "./errors.js";
import { integerOption, optionError } from "./options.js";
import { preset, randomModel } from "./presets.js";

async function open(options: BuildOptions): Promise<CheckpointIndex> {
  const { checkpoint, random, architecture } = options;
  if ((checkpoint === undefined) === (random === undefined)) {
    throw new ArgumentError(
      "ERR_OPTION",
      "buildEngine needs either `checkpoint` (a path) or `random` (a preset's name), and not both",
    );
  }
  if (random?.startsWith(paperPrefix)) return paperModel(random, options);
  if (random !== undefined) {
    if (architecture !== undefined) {
      throw new ArgumentError("ERR_OPTION", "`architecture` overrides a checkpoint's; a preset has its own");
    }
    return preset(random, {
      seed: integerOption("seed", options.seed, { min: 0, max: 2 ** 32 - 1, fallback: 0 }),
    });
  }
  if (options.seed !== undefined) {
    throw new ArgumentError("ERR_OPTION", "`seed` is for random weights (`random`), not for a checkpoint");
  }
  if (typeof checkpoint === "object") return checkpoint;
  if (typeof checkpoint !== "string" || checkpoint === "") {
    throw optionError("checkpoint", "the path of a checkpoint", checkpoint);
  }
  return openCheckpoint(checkpoint, architecture ? { architecture } : {});
}

const paperPrefix = "paper:";

function paperModel(
  name: string,
  { architecture = "kraken", ranks = 1, seed }: BuildOptions,
): CheckpointIndex {
  const [contender] = paperComparison(name, { architectures: [architecture] }).contenders(ranks);
  const checkpoint = randomModel(contender!.config, {
    seed: integerOption("seed", seed, { min: 0, max: 2 ** 32 - 1, fallback: 0 }),
  });
  return { ...checkpoint, description: `${contender!.label} ${contender!.model}, random weights` };
}

/** The checkpoint with fewer (or, where positions are computed, any number of) positions. */
function withPositions(source: CheckpointIndex, maxPositions: number | undefined): CheckpointIndex {
  if (maxPositions === undefined) return source;
  const { config, tensors } = source;
  const learned = config.positions.kind === "learned";
  const count = integerOption("maxPositions", maxPositions, {
    min: 1,
    max: 1 << 24,
    fallback: config.maxPositions,
  });
  if (learned && count > config.maxPositions) {
    throw new ArgumentError(
      "ERR_CONTEXT_LENGTH",
      `\`maxPositions\` is ${count}, but the model has learned ${config.maxPositions} positions`,
    );
  }
  const table = tensors["embed.positions"];
  const cut: Record<string, TensorView> =
    learned && table ? { "embed.positions": { ...table, shape: [count, ...table.shape.slice(1)] } } : {};
  return { ...source, config: { ...config, maxPositions: count }, tensors: { ...tensors, ...cut } };
}

/** @throws what buildEngine() does of `checkpoint`, `random`, `seed`, `architecture` and `maxPositions` */
export async function openSource(options: BuildOptions): Promise<CheckpointIndex> {
  return withPositions(await open(options), options.maxPositions);
}
