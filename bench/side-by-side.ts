/**
 * Time to first token and decode pace of several presets, interleaved in one process: medians, warm.
 *
 *     npx tsx bench/side-by-side.ts [--ranks 2] [--context 128] [--rounds 11] [kraken-125m-2way gpt2-124m …]
 *
 * Random weights in bfloat16, one compute thread per rank, batch 1, greedy. TTFT runs from the call of generate() to
 * the first token in JavaScript.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildEngine, Engine } from "../lib/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ranks: { type: "string", default: "2" },
    context: { type: "string", default: "128" },
    rounds: { type: "string", default: "11" },
  },
});
const presets = positionals.length > 0 ? positionals : ["kraken-125m-2way", "gpt2-124m"];
const [ranks, context, rounds] = [Number(values.ranks), Number(values.context), Number(values.rounds)];
const decodeTokens = 8;
const warmUpRounds = 2;

const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[numbers.length >> 1]!;

const directory = await mkdtemp(join(tmpdir(), "kraken-bench-"));
try {
  const runs: { preset: string; engine: Engine; ttftMs: number[]; decodeMs: number[] }[] = [];
  for (const preset of presets) {
    const output = join(directory, preset);
    await buildEngine({ random: preset, output, ranks, dtype: "bfloat16" });
    const engine = await Engine.load(output, { maxBatchSize: 1, threadsPerRank: 1 });
    runs.push({ preset, engine, ttftMs: [], decodeMs: [] });
  }
  for (let round = -warmUpRounds; round < rounds; round++) {
    for (const { engine, ttftMs, decodeMs } of runs) {
      const prompt = Array.from({ length: context }, (_, i) => (i * 7919 + 13) % engine.config.vocabSize);
      const options = { maxTokens: decodeTokens + 1, temperature: 0, ignoreEos: true };
      const { timing } = await engine.generate(prompt, options);
      if (round < 0) continue;
      ttftMs.push(timing.ttftMs);
      decodeMs.push(timing.decodeMsPerToken ?? Number.NaN);
    }
  }
  for (const { preset, engine, ttftMs, decodeMs } of runs) {
    const figures = `TTFT ${median(ttftMs).toFixed(1)} ms, decode ${median(decodeMs).toFixed(2)} ms per token`;
    console.log(`${preset}, ${ranks} ranks, context ${context}: ${figures} (medians of ${rounds})`);
    await engine.dispose();
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
