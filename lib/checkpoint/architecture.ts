/** Running a checkpoint's weights as another architecture, where its tensors allow it. */
import { CheckpointError } from "../errors.js";
import type { Architecture, GptConfig, ModelConfig } from "../model-config.js";

/**
 * The configuration of the same weights as another architecture: gpt, ladder and parallel (with a norm for each module)
 * have the same tensors.
 * @throws CheckpointError ERR_CONFIG when the architecture needs tensors that this model does not have, or has no use for some
 */
export function asArchitecture(where: string, config: ModelConfig, architecture: Architecture): ModelConfig {
  if (architecture === config.architecture) return config;
  const oneNorm = config.architecture === "parallel" && !config.separateNorms;
  if (config.architecture === "kraken" || architecture === "kraken" || oneNorm) {
    const why = oneNorm
      ? "its blocks have one norm, where that needs two"
      : "only a Kraken has the streams of several ways and their conjunction";
    throw new CheckpointError(
      "ERR_CONFIG",
      `${where}: a ${config.architecture} model cannot run as ${architecture}: ${why}`,
    );
  }
  const { separateNorms: _, ...common } = config as ModelConfig & { separateNorms?: boolean };
  return architecture === "parallel"
    ? { ...(common as GptConfig), architecture, separateNorms: true }
    : { ...(common as GptConfig), architecture };
}
