/**
 * Engines of a backend on this machine, after kernels and communicators (run.sh): compared with backend cpu, then timed.
 * The backend is an argument, so that all of this but the GPU is tried where there is none.
 *
 *     npx tsx test/gpu/engines.ts --backend tensorrt [--devices N] [--seconds N] [--json FILE]
 *
 * --small: tiny models alone, as tests have it. --missing: only prints why the backend cannot run here; nothing where it
 * can. --other-weights: compares with another model, which must fail: what shows that the comparison is one.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { failureOf } from "../../lib/bench/check.js";
import type { BenchRecord } from "../../lib/bench/document.js";
import { planGrid } from "../../lib/bench/grid.js";
import { resolveBench } from "../../lib/bench/options.js";
import { runGrid } from "../../lib/bench/run.js";
import { native } from "../../lib/native.js";
import { median } from "../../lib/report/statistics.js";
import { version } from "../../lib/version.js";
import { type Answers, ask, askBuilt, compare, type Dtype } from "./engine-checks.js";
import { EngineReport, noTime } from "./engine-report.js";

const { values } = parseArgs({
  options: {
    backend: { type: "string", default: "tensorrt" },
    devices: { type: "string", default: "1" },
    seconds: { type: "string", default: "240" },
    json: { type: "string" },
    small: { type: "boolean", default: false },
    missing: { type: "boolean", default: false },
    "other-weights": { type: "boolean", default: false },
  },
});
const { backend, small } = values;

/** Why the backend does not run here. */
function missing(): string | undefined {
  try {
    const found = native().capabilities().backends[backend];
    if (found === undefined) return `there is no backend ${backend}`;
    return found.available ? undefined : found.reason;
  } catch (error) {
    return (error as Error).message;
  }
}

function positive(name: "devices" | "seconds"): number {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value >= 0) return value;
  console.error(`engines.ts: --${name} needs a number, got ${values[name]}`);
  process.exit(2);
}

const bundled = join(import.meta.dirname, "..", "..", "models", "kraken-austen-2way");
const random = "kraken-tiny-2way";
const models = [
  { name: "random tiny Kraken", of: (seed: number) => ({ random, seed }) },
  // Another seed has no meaning for it: the random model stands in.
  {
    name: "bundled model",
    of: (seed: number) => (seed === 0 ? { checkpoint: bundled } : { random, seed }),
  },
];
const words = (ranks: number) => `${ranks} rank${ranks === 1 ? "" : "s"}`;

class Run {
  readonly #devices = positive("devices");
  readonly #until = performance.now() + 1000 * positive("seconds");
  readonly #signal = AbortSignal.timeout(Math.ceil(1000 * positive("seconds")));
  readonly report = new EngineReport(values.json);

  constructor(private readonly directory: string) {}

  /** Leaves out what there is no time for, before it begins or in the middle of it. */
  async part(name: string, run: (elapsed: () => number) => Promise<void>): Promise<void> {
    const from = performance.now();
    const elapsed = () => (performance.now() - from) / 1000;
    if (this.#until - from < 1000) return this.report.skip(name, noTime);
    this.report.begin(name);
    try {
      await run(elapsed);
    } catch (error) {
      if (this.#signal.aborted) this.report.skip(name, noTime);
      else this.report.fail(name, error instanceof Error ? error.message : String(error), elapsed());
    }
  }

  async compared(): Promise<void> {
    const seed = values["other-weights"] ? 1 : 0;
    for (const [index, { name, of }] of models.entries()) {
      const directory = await mkdtemp(join(this.directory, `model${index}-`));
      const reference = { backend: "cpu", dtype: "float32" as const, ranks: 1, ranksPerDevice: 1 };
      let expected: Answers | undefined;
      const compared = (group: string, dtype: Dtype, answers: () => Promise<Answers>) =>
        this.part(group, async (elapsed) => {
          expected ??= await ask(of(seed), reference, join(directory, "reference"), this.#signal);
          this.report.add(group, compare(await answers(), expected, dtype), elapsed());
        });
      for (const dtype of ["float32", "bfloat16", "float16"] as const satisfies Dtype[]) {
        for (const ranks of dtype === "float16" ? [2] : [1, 2]) {
          const group = `engine, ${name}, ${dtype}, ${words(ranks)}`;
          const ranksPerDevice = backend === "cpu" ? 1 : Math.ceil(ranks / Math.max(1, this.#devices));
          const wanted = { backend, dtype, ranks, ranksPerDevice };
          await compared(group, dtype, () => ask(of(0), wanted, directory, this.#signal));
          if (ranks === 1 || dtype === "float16") continue;
          await compared(`engine, ${name}, ${dtype}, ${ranks} processes`, dtype, () =>
            askBuilt(wanted, directory, this.#signal, { hosts: `localhost:${ranks}` }),
          );
        }
      }
    }
  }

  /** Ranks that share a GPU say nothing about time: as many ranks as there are GPUs, at most two. */
  async timed(): Promise<void> {
    const ranks = backend === "cpu" || this.#devices >= 2 ? 2 : 1;
    if (ranks < 2) this.report.skip("time to first token, 2 ranks", `needs 2 GPUs, here: ${this.#devices}`);
    const name = `time to first token, ${words(ranks)}`;
    await this.part(name, async (elapsed) => {
      const settings = resolveBench("prefill", {
        models: small ? ["kraken-tiny-2way", "gpt-tiny"] : ["kraken-125m-2way", "gpt-125m"],
        context: small ? [16] : undefined, // 128, and as many as the models have positions for
        ranks: [ranks],
        backend,
        repeat: small ? 2 : 10,
        maxRepeat: small ? 2 : 30,
        maxSeconds: 20,
      });
      // The machine is told by run.sh's own report.
      const environment = {
        version,
        commit: null,
        cpu: { model: "", usable: native().capabilities().cores },
      };
      const plan = await planGrid(settings);
      const record = await runGrid(plan, { phase: "prefill", environment, signal: this.#signal });
      this.#figures(record);
      const checks = checksOf(record);
      if (!record.complete) this.report.skip(`${name}: what is not above`, noTime);
      if (checks.length > 0 || record.complete) this.report.add(name, checks, elapsed());
    });
  }

  #figures({ cells }: BenchRecord): void {
    for (const { context, dtype, variants } of cells) {
      for (const { label, role, ranks, prefill } of variants) {
        if (prefill === undefined) continue;
        const of = role === "bound" ? ", without its collectives" : "";
        const name = `TTFT ${label}, ${dtype}, ${words(ranks)}, context ${context}${of}`;
        this.report.figure(name, median(prefill.samplesMs), "ms");
      }
    }
  }
}

/** Each engine once, however many contexts it was timed with; one that failed has an error without bounds. */
function checksOf({ cells }: BenchRecord) {
  const byName = new Map<string, { name: string; error: number; tolerance: number }>();
  for (const { label, role, ranks, check, failure } of cells.flatMap(({ variants }) => variants)) {
    const name = `${label}, ${role}, ${words(ranks)}`;
    if (check !== undefined)
      byName.set(name, { name, error: check.relativeError, tolerance: check.tolerance });
    if (failure === undefined || (check !== undefined && failureOf(check) !== undefined)) continue;
    byName.set(name, { name: `${name}: ${failure}`, error: Number.POSITIVE_INFINITY, tolerance: 0 });
  }
  return [...byName.values()];
}

const reason = missing();
if (values.missing || reason !== undefined) {
  if (reason !== undefined) console.log(reason);
} else {
  const directory = await mkdtemp(join(tmpdir(), "kraken-engines-"));
  try {
    const run = new Run(directory);
    await run.compared();
    if (!values["other-weights"]) await run.timed();
    run.report.end();
    if (!run.report.passed) process.exitCode = 1;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
