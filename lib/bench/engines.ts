/** Builds and loads the engines of a setting. */
import { link, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildEngine } from "../build.js";
import { Engine } from "../engine.js";
import { manifestName, readManifest, serializeManifest } from "../engine-directory.js";
import type { LoadOptions } from "../engine-options.js";
import { withIoErrors } from "../io-error.js";
import { randomModel } from "../presets.js";
import { type Setting, type Variant, withRoom } from "./grid.js";
import type { Settings } from "./options.js";

/** An engine that leaves its collectives out has the same weights: all that differs is a word of the manifest. */
async function silentTwin(directory: string, twin: string): Promise<void> {
  await withIoErrors(`write ${twin}`, async () => {
    await mkdir(twin);
    const files = (await readdir(directory)).filter((name) => name !== manifestName);
    for (const name of files) await link(join(directory, name), join(twin, name));
    const manifest = await readManifest(directory);
    await writeFile(join(twin, manifestName), serializeManifest({ ...manifest, communication: "none" }));
  });
}

/** Where its ranks run: one alone always here. */
export function placesOf({ ranks }: Pick<Variant, "ranks">, settings: Settings): LoadOptions {
  const { hosts, launchAgent } = settings;
  return hosts === null || ranks === 1 ? {} : { hosts, launchAgent: launchAgent ?? undefined };
}

export class EngineSet {
  readonly #root: string;
  readonly #setting: Setting;
  readonly #settings: Settings;
  /** By contender and ranks, so that a bound finds the engine it is a twin of. */
  readonly #built = new Map<string, string>();

  /** @param root an empty directory, which the caller removes */
  constructor(root: string, setting: Setting, settings: Settings) {
    this.#root = root;
    this.#setting = setting;
    this.#settings = settings;
  }

  async load(variant: Variant, signal: AbortSignal | undefined): Promise<Engine> {
    const settings = this.#settings;
    const bound = variant.role === "bound";
    const built = variant.directory ?? (await this.#build(variant, signal));
    let directory = built;
    if (bound) {
      directory = `${built}-silent`;
      await silentTwin(built, directory);
    }
    const options: LoadOptions = {
      maxBatchSize: Math.max(...settings.batch),
      maxSequenceLength: Math.max(...this.#setting.contexts) + settings.outputTokens,
      threadsPerRank: variant.threadsPerRank,
      prefixReuse: false, // every round sends the same prompt
      profile: true,
      verify: variant.directory !== undefined,
      backend: settings.backend,
      link: settings.link,
      ...placesOf(variant, settings),
      signal,
      ...(bound && { communication: "none" }),
    };
    return Engine.load(directory, options);
  }

  async #build(variant: Variant, signal: AbortSignal | undefined): Promise<string> {
    const { config, ranks, label } = variant;
    const key = `${ranks} ${label}`;
    const known = this.#built.get(key);
    if (known !== undefined) return known;
    const { seed, backend, outputTokens } = this.#settings;
    const output = join(this.#root, `engine${this.#built.size}`);
    const checkpoint = randomModel(withRoom(config, this.#setting.contexts, outputTokens), { seed });
    await buildEngine({
      checkpoint,
      output,
      ranks,
      dtype: this.#setting.dtype,
      backend,
      maxBatchSize: Math.max(...this.#settings.batch),
      signal,
    });
    this.#built.set(key, output);
    return output;
  }
}
