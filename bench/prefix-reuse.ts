/**
 * What prefix reuse wins: the time to the first token of prompts that begin alike and end in 32 tokens of their own,
 * with and without it, in turns on two engines.
 *
 *     npm run bench:prefix-reuse -- [rounds]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildEngine, Engine } from "../lib/index.js";
import { percentile } from "../lib/report/statistics.js";

const ownTokens = 32;
const contexts = [128, 512, 1000];
const preset = "kraken-125m-2way";

/** The beginning is the same for every `own`; the end is not. */
function promptOf(length: number, own: number, vocabSize: number): number[] {
  const token = (i: number) => (i < length - ownTokens ? i * 7919 : i * 7919 + own * 104_729 + 1) % vocabSize;
  return Array.from({ length }, (_, i) => token(i));
}

const rounds = Number(process.argv[2] ?? "21");
const root = await mkdtemp(join(tmpdir(), "kraken-prefix-"));
try {
  const path = join(root, "engine");
  await buildEngine({ random: preset, output: path, ranks: 2, dtype: "bfloat16" });
  const load = (prefixReuse: boolean) => Engine.load(path, { maxBatchSize: 1, verify: false, prefixReuse });
  await using reusing = await load(true);
  await using plain = await load(false);
  console.log(
    `${preset}, bfloat16, 2 ranks; medians of ${rounds} turns (quartiles), ms to the first token\n`,
  );
  console.log("prompt  reused  with reuse            without               ratio");
  for (const context of contexts) {
    const samples = new Map<Engine, number[]>([
      [plain, []],
      [reusing, []],
    ]);
    const ratios: number[] = [];
    let reused = 0;
    for (let round = -2; round < rounds; round++) {
      const prompt = promptOf(context, round + 2, plain.config.vocabSize);
      const taken = new Map<Engine, number>();
      for (const engine of round % 2 ? [plain, reusing] : [reusing, plain]) {
        const { timing, cachedTokens } = await engine.generate(prompt, { maxTokens: 1, temperature: 0 });
        taken.set(engine, timing.ttftMs);
        if (engine === reusing) reused = cachedTokens;
      }
      if (round < 0) continue; // the first leaves the beginning behind
      for (const [engine, ms] of taken) samples.get(engine)!.push(ms);
      ratios.push(taken.get(reusing)! / taken.get(plain)!);
    }
    const shown = (values: number[], digits: number) => {
      const [low, median, high] = [25, 50, 75].map((p) => percentile(values, p).toFixed(digits));
      return `${median} (${low}–${high})`;
    };
    console.log(
      `${String(context).padEnd(8)}${String(reused).padEnd(8)}${shown(samples.get(reusing)!, 2).padEnd(22)}` +
        `${shown(samples.get(plain)!, 2).padEnd(22)}${shown(ratios, 3)}`,
    );
  }
} finally {
  await rm(root, { recursive: true, force: true });
}
