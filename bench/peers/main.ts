/**
 * This engine beside what a user would pick instead: same weights, same prompts, the same minutes.
 *
 *     npm run -s bench:peers -- [--models kraken,gpt2] [--peers pytorch,pytorch-compile,onnxruntime,onnxruntime-node,
 *       llama.cpp] [--dtypes bfloat16,float16,float32] [--contexts 128,1023] [--rounds 7] [--threads 2]
 *       [--json FILE] [--chart FILE.svg] [--markdown] [--from FILE]
 *
 * The first run installs the peers into a cache (README.md says how large). One that cannot be installed or run is
 * listed with the reason; one whose first logits differ from ours is listed as failed and not timed.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chartSvg } from "./chart.js";
import { environment } from "./environment.js";
import { cache, installNode } from "./install.js";
import { ModelRun, metricsOf } from "./measure.js";
import { type PeersOptions, parseOptions } from "./options.js";
import { markdownText, terminalText } from "./report.js";
import type { PeerResult, PeersReport } from "./results.js";

async function measure(options: PeersOptions, args: readonly string[]): Promise<PeersReport> {
  await mkdir(cache, { recursive: true });
  const directory = await mkdtemp(join(cache, "models-"));
  const results: PeerResult[] = [];
  try {
    for (const model of options.models) {
      results.push(...(await new ModelRun(model, options, directory).run()));
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return {
    environment: environment(),
    command: ["npm run -s bench:peers --", ...args].join(" "),
    rounds: options.rounds,
    threads: options.threads,
    metrics: metricsOf(options),
    results,
  };
}

const args = process.argv.slice(2);
const options = parseOptions(args);
const report = options.from
  ? (JSON.parse(await readFile(options.from, "utf8")) as PeersReport)
  : await measure(options, args);
if (options.json) await writeFile(options.json, `${JSON.stringify(report, null, 1)}\n`);
process.stdout.write(options.markdown ? markdownText(report, options.chart) : terminalText(report));
if (options.chart) {
  await installNode();
  await writeFile(options.chart, await chartSvg(report));
}
