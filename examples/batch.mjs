/**
 * Many requests at once: they share each step of the engine, and what they have in common is computed once. Results come
 * in the order they finish.
 */
import { Engine } from "kraken-engine";
import { demoEngine } from "./demo-engine.mjs";

const engine = await Engine.load(await demoEngine(), { maxBatchSize: 4 });
const scene =
  "The ball at Netherfield was spoken of by everybody in the neighbourhood for weeks before it took place, ";
const prompts = ["Elizabeth", "Mr. Darcy", "Her mother", "The colonel", "Nobody", "Every carriage"].map(
  (who) => `${scene.repeat(6)}and ${who}`,
);

const from = performance.now();
let tokens = 0;
await Promise.all(
  prompts.map(async (prompt, i) => {
    const result = await engine.generate(prompt, { maxTokens: 32, temperature: 0.8, seed: i });
    tokens += result.tokens.length;
    const reused = `${result.cachedTokens} of ${result.promptTokens} prompt tokens reused`;
    console.log(`${i}: ${JSON.stringify(result.text)} (${reused})`);
  }),
);
const seconds = (performance.now() - from) / 1000;
console.log(`${tokens} tokens, ${Math.round(tokens / seconds)} a second`);

await engine.dispose();
