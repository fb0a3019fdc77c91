/** kraken plan: what a first token takes on hardware that is not here, and which Kraken to train for it. */
import type { Command } from "commander";
import type { Calibration, Efficiencies, GridOptions, Hardware, Shape } from "../../plan/index.js";
import { pageHtml } from "../../report/html.js";
import { writeWhole } from "../bench/outputs.js";
import type { Context } from "../context.js";
import { UsageError } from "../failure.js";
import { addFlag, choice, integer, integers, number } from "../flags.js";
import { printJson } from "../output.js";
import { planChart } from "../plan-charts.js";
import {
  assumptions,
  breakEvenReport,
  calibrationReport,
  designReport,
  gridReport,
  type PlanPage,
} from "../plan-report.js";
import { rankAliases } from "./build.js";

type Plan = Awaited<ReturnType<Context["library"]["plan"]>>;

interface Flags {
  models?: string;
  layers?: number;
  hiddenSize?: number;
  vocabSize?: number;
  roundTo?: number;
  ranks?: number[];
  context?: number[];
  batch?: number;
  dtype: number;
  conjunction?: "prompt" | "last";
  logitsHead?: true;
  hardware: string;
  link?: string;
  latency?: string;
  efficiency?: string;
  calibrate?: string;
  breakEven?: true;
  targetParams?: number;
  ways?: number;
  json?: true;
  markdown?: true;
  html?: string;
}

const help = `
Hardware: a100-40gb, a100-80gb, h100-sxm, h200-sxm, b200, or a JSON file:
  { "name": "my machine", "compute": "50 TFLOP/s", "memoryBandwidth": "900 GB/s", "memory": "24 GB",
    "link": { "bandwidth": "10 Gbit/s", "latency": "20 us" } }
Links: nvlink, pcie4, pcie5, 1gbe, 10gbe, 25gbe, 100gbe, 400gbe, or numbers: 10Gbit/s,20us

Examples:
  kraken plan                                              the paper's 20 cells on its hardware
  kraken plan --hardware h100-sxm --efficiency flop=0.6,link=0.7,hbm=0.8
  kraken plan --models 1.3b,13b --ranks 2,4 --link 25gbe
  kraken plan --break-even --hardware h200-sxm --link pcie5
  kraken plan --target-params 1.3e9 --ranks 8              which Kraken to train
  kraken plan --hardware my.json --calibrate measured.json
`;

const notWithDesign = [
  "models",
  "hiddenSize",
  "roundTo",
  "conjunction",
  "logitsHead",
  "link",
  "latency",
].concat("efficiency", "calibrate", "breakEven");

export function addPlan(program: Command, context: Context): void {
  const command = program
    .command("plan")
    .description("predict the time to first token on other hardware; find the Kraken to train for it")
    .addHelpText("after", help.trimEnd());
  const flag = (flags: string, text: string, settings = {}) =>
    addFlag(command, flags, text, { env: false, ...settings });
  command.optionsGroup("Models:");
  flag("--models <sizes>", "standard sizes, as in 1.3b,13b (default: the paper's five)");
  flag("--layers <n>", "with --hidden-size: a standard transformer of other sizes", { parse: integer });
  flag("--hidden-size <n>", "its width; the Kraken beside it has as many parameters", {
    parse: integer,
    conflicts: ["models"],
    aliases: ["--width"],
  });
  flag("--vocab-size <n>", "default: 51200", { parse: integer });
  flag("--round-to <n>", "Kraken's width is a multiple of it (default: 64)", { parse: integer });
  flag("--ways <n>", "of every Kraken, a multiple of the ranks (default: the ranks)", { parse: integer });
  command.optionsGroup("Run they would have:");
  flag("--ranks <list>", "rank counts; also --tp (default: 4,8)", { parse: integers, aliases: rankAliases });
  flag("--context <list>", "prompt lengths (default: 128,2048)", {
    parse: integers,
    aliases: ["--context-length"],
  });
  flag("--batch <n>", "sequences (default: 1)", { parse: integer });
  flag("--dtype <type>", "float32, bfloat16 or float16 (default: bfloat16)", {
    parse: (value: string) => dtypeBytes[choice(Object.keys(dtypeBytes))(value, undefined) as string],
  });
  flag("--conjunction <rows>", "Kraken's last collective: prompt, or last token only (default: prompt)", {
    parse: choice(["prompt", "last"]),
  });
  flag("--logits-head", "count the logits head too");
  command.optionsGroup("Hardware:");
  flag("--hardware <name>", "a name, or a JSON file (default: a100-40gb)");
  flag("--link <name>", "between the ranks (default: the hardware's)");
  flag("--latency <time>", "of an all-reduce of no bytes, as in 15us (default: the link's)");
  flag("--efficiency <shares>", "of the peak rates: flop=0.6,link=0.7,hbm=0.8 (default: 1 each)");
  flag("--calibrate <file>", "fit those shares to measured times", { conflicts: ["efficiency"] });
  command.optionsGroup("Other questions:");
  flag("--break-even", "which links are slow enough that Kraken is first");
  flag("--target-params <n>", "which Kraken to train: its shape and its memory", {
    parse: number,
    conflicts: notWithDesign,
  });
  command.optionsGroup("Output:");
  flag("--json", "print one JSON document");
  flag("--markdown", "print Markdown", { conflicts: ["json"] });
  flag("--html <file>", "write a page, with a chart of the cells");
  command.helpOption("-h, --help", "show help");
  command.setOptionValue("hardware", "a100-40gb").setOptionValue("dtype", 2);
  command.action((flags: Flags) => plan(flags, context));
}

const dtypeBytes: Record<string, number> = { float32: 4, bfloat16: 2, float16: 2 };

async function plan(flags: Flags, context: Context): Promise<void> {
  const library = await context.library.plan();
  const page =
    flags.targetParams === undefined ? await compare(flags, library, context) : await design(flags, library);
  if (flags.html !== undefined) await writeWhole(flags.html, pageHtml(page.html));
  if (flags.json) printJson(context.stdout, page.json);
  else context.stdout.write(flags.markdown ? page.markdown : page.text);
}

/** `--hardware` and what other flags change of it. */
async function hardwareOf(flags: Flags, library: Plan): Promise<Hardware> {
  const file = /[./\\]/.test(flags.hardware);
  const hardware = file ? await library.readHardware(flags.hardware) : library.hardwarePreset(flags.hardware);
  const link = flags.link === undefined ? hardware.link : library.linkOf(flags.link, hardware.link);
  if (flags.latency === undefined) return { ...hardware, link };
  return {
    ...hardware,
    link: { ...link, latencySeconds: library.parseQuantity("latency", flags.latency, "time") },
  };
}

function efficienciesOf(text: string | undefined, library: Plan): Efficiencies {
  const efficiencies = { ...library.peak };
  for (const part of text?.split(",") ?? []) {
    const [, key, value] = /^\s*(flop|link|hbm)=([\d.]+)\s*$/.exec(part) ?? [];
    const share = Number(value);
    if (key === undefined || !(share > 0 && share <= 1)) {
      throw new UsageError(
        `--efficiency must be shares over 0 and at most 1, as in flop=0.6,link=0.7,hbm=0.8: got ${part}`,
      );
    }
    efficiencies[key as keyof Efficiencies] = share;
  }
  return efficiencies;
}

function shapesOf(flags: Flags, library: Plan): readonly Shape[] {
  if ((flags.layers === undefined) !== (flags.hiddenSize === undefined)) {
    throw new UsageError("--layers and --hidden-size belong together: give both, or --models");
  }
  if (flags.layers !== undefined) {
    return [library.customShape(flags.layers, flags.hiddenSize!)];
  }
  return (flags.models?.split(",") ?? library.paperSizes).map((name) => library.shapeNamed(name.trim()));
}

async function compare(flags: Flags, library: Plan, context: Context): Promise<PlanPage> {
  const shapes = shapesOf(flags, library);
  const hardware = await hardwareOf(flags, library);
  let efficiencies = efficienciesOf(flags.efficiency, library);
  let calibration: Calibration | undefined;
  if (flags.calibrate !== undefined) {
    const rows = await library.readMeasured(flags.calibrate, flags.dtype);
    calibration = library.calibrate(rows, hardware);
    efficiencies = calibration.efficiencies;
  }
  const { ways, batch, vocabSize, roundTo, conjunction, logitsHead } = flags;
  const options: GridOptions = {
    hardware,
    efficiencies,
    shapes,
    dtypeBytes: flags.dtype,
    ...(flags.ranks && { ranks: flags.ranks }),
    ...(flags.context && { contexts: flags.context }),
    ...(ways !== undefined && { ways }),
    ...(batch !== undefined && { batch }),
    ...(vocabSize !== undefined && { vocabSize }),
    ...(roundTo !== undefined && { roundTo }),
    ...(conjunction && { conjunction }),
    ...(logitsHead && { logitsHead }),
  };
  const grid = library.predictGrid(options);
  const before = calibration ? calibrationReport(calibration) : undefined;
  const about = assumptions(options);
  if (flags.breakEven) {
    const points = grid.cells.map((cell) => ({
      cell,
      bandwidth: library.breakEvenBandwidth(library.contestOf(cell, options)),
      latency: library.breakEvenLatency(library.contestOf(cell, options)),
    }));
    return breakEvenReport(points, options, about, before);
  }
  const ofPaper =
    flags.models === undefined && flags.layers === undefined && !flags.ranks && !flags.context && !flags.ways;
  const published = ofPaper ? library.published : undefined;
  const page = gridReport(grid, options, about, published, before, context.stdout.columns);
  if (flags.html === undefined) return page;
  const { loadCharts } = await context.library.charts();
  const chart = planChart(await loadCharts(), grid, published?.geometricMean);
  return { ...page, html: { ...page.html, blocks: [chart, ...page.html.blocks] } };
}

async function design(flags: Flags, library: Plan): Promise<PlanPage> {
  const hardware = await hardwareOf(flags, library);
  const only = (name: string, values: number[] | undefined) => {
    if (values && values.length > 1) throw new UsageError(`--target-params takes one number of ${name}`);
    return values?.[0];
  };
  const ranks = only("--ranks", flags.ranks);
  if (ranks === undefined)
    throw new UsageError("--target-params needs --ranks: how many devices will serve it?");
  const contextLength = only("--context", flags.context);
  const { targetParams, ways, layers, vocabSize } = flags;
  const designs = library.designKraken({
    targetParams: targetParams!,
    ranks,
    dtypeBytes: flags.dtype,
    ...(ways !== undefined && { ways }),
    ...(layers !== undefined && { layers }),
    ...(contextLength !== undefined && { contextLength }),
    ...(vocabSize !== undefined && { vocabSize }),
  });
  return designReport(designs, ranks, hardware);
}
