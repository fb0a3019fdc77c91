/**
 * transformers' spellings of the rotary settings: `rope_parameters` (5.x), and before it `rope_theta`,
 * `rotary_emb_base`, `rotary_pct`, `partial_rotary_factor` and `rope_scaling`.
 */
import type { PositionConfig } from "../model-config.js";
import type { ConfigJson } from "./config-json.js";

/**
 * @param defaults what the family's configuration class assumes
 * @throws CheckpointError ERR_CONFIG for a scaling the engine does not have
 */
export function rotaryPositions(
  json: ConfigJson,
  headDim: number,
  defaults: { base: number; fraction: number },
): PositionConfig {
  const parameters = json.object("rope_parameters");
  const pick = (keys: string[], fallback: number): number => {
    for (const source of [parameters, json]) {
      for (const key of keys) if (source?.has(key)) return source.number(key);
    }
    return fallback;
  };
  const base = pick(["rope_theta", "rotary_emb_base"], defaults.base);
  // An odd number of dimensions rotates one more, at the frequencies of the odd number: so transformers does.
  const stated = Math.trunc(headDim * pick(["partial_rotary_factor", "rotary_pct"], defaults.fraction));
  const pairs = Math.ceil(stated / 2);
  const scale = frequencyScaling(parameters ?? json.object("rope_scaling"));
  const frequencyScale = Array.from({ length: pairs }, (_, i) => {
    const frequency = base ** ((-2 * i) / stated);
    return (scale(frequency) * frequency) / base ** (-i / pairs);
  });
  const plain = { kind: "rotary", dims: 2 * pairs, base, interleaved: false } as const;
  return frequencyScale.every((factor) => factor === 1) ? plain : { ...plain, frequencyScale };
}

/** The factor on a rotation frequency (radians per position). */
function frequencyScaling(scaling: ConfigJson | undefined): (frequency: number) => number {
  const type = scaling?.string("rope_type", scaling.string("type", "default")) ?? "default";
  if (!scaling || type === "default") return () => 1;
  if (type === "linear") {
    const factor = factorOf(scaling);
    return () => 1 / factor;
  }
  if (type === "llama3") return (frequency) => llama3Scale(scaling, frequency);
  return scaling.fail(
    `rotary scaling ${JSON.stringify(type)} is not supported: default, linear and llama3 are`,
  );
}

function factorOf(scaling: ConfigJson): number {
  const factor = scaling.number("factor");
  return factor > 0 ? factor : scaling.fail(`\`factor\` must be positive, got ${factor}`);
}

/** Llama 3.1: long waves are stretched by `factor`, short ones kept, those between interpolated (transformers modeling_rope_utils). */
function llama3Scale(scaling: ConfigJson, frequency: number): number {
  const factor = factorOf(scaling);
  const low = scaling.number("low_freq_factor");
  const high = scaling.number("high_freq_factor");
  if (!(high > low && low > 0))
    scaling.fail("`high_freq_factor` must be above `low_freq_factor`, both positive");
  // How many waves fit into the context the model was first trained for.
  const waves = (scaling.integer("original_max_position_embeddings") * frequency) / (2 * Math.PI);
  if (waves < low) return 1 / factor;
  if (waves > high) return 1;
  const kept = (waves - low) / (high - low);
  return (1 - kept) / factor + kept;
}
