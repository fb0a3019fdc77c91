/**
 * How close the engine comes to what bounds it on this machine.
 *
 *     npm run -s bench:roofline -- [--json] [--presets kraken-125m-2way] [--dtypes bfloat16] [--ranks 2]
 *       [--contexts 128,1024] [--batches 1] [--communication overlapped] [--threads 1] [--rounds 11]
 *
 * Prefill is bounded by its matrix products (the same packed weights, all ranks at once), decoding by one read of all
 * packed weights. Both bounds are measured in the same process, between the samples they belong to. All cells take
 * turns in every round, so that what changes on a shared machine changes for all.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildEngine, Engine, type LoadOptions } from "../lib/index.js";
import { integerOption } from "../lib/options.js";
import { median } from "../lib/report/statistics.js";
import { type Cell, CellRun, firstCallExtraMs, loadTimes } from "./roofline/measure.js";
import { type EngineFigures, engineText, rowText } from "./roofline/report.js";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    presets: { type: "string", default: "kraken-125m-2way" },
    dtypes: { type: "string", default: "bfloat16" },
    ranks: { type: "string", default: "2" },
    threads: { type: "string", default: "1" },
    contexts: { type: "string", default: "128,1024" },
    batches: { type: "string", default: "1" },
    communication: { type: "string", default: "overlapped" },
    rounds: { type: "string", default: "11" },
  },
});
const list = (text: string) => text.split(",").map((part) => part.trim());
const whole = (name: string, text: string) =>
  integerOption(name, /^\d+$/.test(text) ? Number(text) : text, { min: 1, fallback: 1 });
const numbers = (name: "ranks" | "contexts" | "batches") =>
  list(values[name]).map((text) => whole(name, text));
const rounds = whole("rounds", values.rounds);
const warmUpRounds = 2;
const unusedLengths = [37, 43, 51, 61, 67];

interface Variant {
  engine: Engine;
  cells: CellRun[];
  figures: EngineFigures;
}

async function open(
  root: string,
  cell: Omit<Cell, "batch" | "context">,
  batches: readonly number[],
  contexts: readonly number[],
): Promise<Variant> {
  const { preset, dtype, ranks, threadsPerRank } = cell;
  const communication = cell.communication === "none" ? ({ communication: "none" } as const) : {};
  const output = join(root, `${preset}-${dtype}-${ranks}-${cell.communication}`);
  await buildEngine({ random: preset, output, dtype, ranks, ...communication });
  const options: LoadOptions = {
    maxBatchSize: Math.max(...batches),
    threadsPerRank,
    prefixReuse: false,
    profile: true,
    ...communication,
  };
  const loadMs = median(await loadTimes(output, options, 5));
  const before = process.memoryUsage.rss();
  const engine = await Engine.load(output, options);
  const room = engine.maxSequenceLength;
  const extra = await firstCallExtraMs(engine, unusedLengths);
  const { weightBytes, kvBytes, activationBytes } = engine.stats();
  const cells = batches.flatMap((batch) =>
    contexts.map((context) => {
      // The longest prompt that leaves room for the tokens that are timed.
      const fitting = Math.min(context, room - 17);
      return new CellRun({ ...cell, batch, context: fitting }, engine);
    }),
  );
  const figures = { ...cell, loadMs, residentBytes: before, weightBytes, kvBytes, activationBytes };
  return { engine, cells, figures: { ...figures, firstCallExtraMs: extra } };
}

const root = await mkdtemp(join(tmpdir(), "kraken-roofline-"));
try {
  const variants: Variant[] = [];
  for (const preset of list(values.presets)) {
    for (const dtype of list(values.dtypes) as Cell["dtype"][]) {
      for (const ranks of numbers("ranks")) {
        for (const communication of list(values.communication) as Cell["communication"][]) {
          const cell = {
            preset,
            dtype,
            ranks,
            threadsPerRank: whole("threads", values.threads),
            communication,
          };
          const variant = await open(root, cell, numbers("batches"), numbers("contexts"));
          for (const run of variant.cells) await run.round(false);
          variant.figures.residentBytes = process.memoryUsage.rss() - variant.figures.residentBytes;
          variants.push(variant);
        }
      }
    }
  }
  const runs = variants.flatMap((variant) => variant.cells);
  for (let round = 1 - warmUpRounds; round < rounds; round++) {
    for (const run of runs) await run.round(round >= 0);
  }
  const rows = runs.flatMap((run) => run.rows());
  const engines = variants.map((variant) => variant.figures);
  if (values.json) {
    const environment = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
    console.log(JSON.stringify({ rounds, environment, rows, engines }));
  } else {
    for (const row of rows) process.stdout.write(rowText(row));
    for (const figures of engines) process.stdout.write(engineText(figures));
  }
  for (const { engine } of variants) await engine.dispose();
} finally {
  await rm(root, { recursive: true, force: true });
}
