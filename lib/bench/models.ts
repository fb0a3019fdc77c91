/** What `--models` names: sizes of the paper, presets, and engine directories. */
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { type EngineManifest, readManifest } from "../engine-directory.js";
import { ArgumentError } from "../errors.js";
import { closest, numberOption, optionError } from "../options.js";
import { shapeNames } from "../plan/shapes.js";
import { preset, presetNames } from "../presets.js";
import { type Comparison, type Contender, labels } from "./contender.js";
import { type PaperOptions, paperComparison } from "./paper.js";

export interface Models {
  comparisons: Comparison[];
  /** Of the engine directories, in their order. */
  engines: { directory: string; manifest: EngineManifest }[];
}

const isDirectory = (path: string) =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

function unknown(name: string): ArgumentError {
  const paper = shapeNames.map((size) => `paper:${size}`);
  const meant = closest(name, [...presetNames, ...paper]);
  const hint = meant
    ? `did you mean ${meant}?`
    : `known: ${paper.join(", ")}, ${presetNames.join(", ")}, or an engine directory`;
  return new ArgumentError("ERR_OPTION", `unknown model ${JSON.stringify(name)}; ${hint}`);
}

async function givenContender(name: string, engines: Models["engines"]): Promise<Contender> {
  if (presetNames.includes(name)) return { label: name, model: name, config: preset(name).config };
  if (!/[./\\]/.test(name) && !(await isDirectory(name))) throw unknown(name);
  const directory = resolve(name);
  const manifest = await readManifest(directory);
  if (manifest.communication === "none") {
    throw new ArgumentError(
      "ERR_OPTION",
      `${name} was built without collectives; give an engine with them, the bound is built beside it`,
    );
  }
  engines.push({ directory, manifest });
  const label = basename(directory);
  return { label, model: `${label} (${labels[manifest.architecture]})`, config: manifest.config, directory };
}

/** Two engines may have directories of the same name. */
function withDistinctLabels(contenders: readonly Contender[]): Contender[] {
  const seen = new Map<string, number>();
  return contenders.map((one) => {
    const count = (seen.get(one.label) ?? 0) + 1;
    seen.set(one.label, count);
    return count === 1 ? one : { ...one, label: `${one.label} (${count})` };
  });
}

/**
 * Presets and engines form one comparison, each size of the paper another.
 * @throws KrakenError ERR_OPTION for an unknown name (with the one probably meant); what reading an engine's manifest
 *   throws
 */
export async function readModels(names: readonly string[], options: PaperOptions = {}): Promise<Models> {
  if (names.length === 0) throw optionError("models", "at least one model", names);
  numberOption("layersFraction", options.layersFraction, {
    expected: "a number over 0 and at most 1",
    accept: (value) => value > 0 && value <= 1,
    fallback: 1,
  });
  const models: Models = { comparisons: [], engines: [] };
  const given: Contender[] = [];
  for (const name of names) {
    if (name.startsWith("paper:")) models.comparisons.push(paperComparison(name, options));
    else given.push(await givenContender(name, models.engines));
  }
  if (given.length > 0) {
    const contenders = withDistinctLabels(given);
    models.comparisons.unshift({ name: "given", contenders: () => contenders });
  }
  return models;
}
