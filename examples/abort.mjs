/** The three ways to stop: a signal rejects, leaving the loop and cancel() keep what there is. */
import { Engine } from "kraken-engine";
import { demoEngine } from "./demo-engine.mjs";

const engine = await Engine.load(await demoEngine());
const prompt = "It is a truth universally acknowledged";
const endless = { maxTokens: 240, ignoreEos: true, temperature: 0.8, seed: 1 };

try {
  await engine.generate(prompt, { ...endless, signal: AbortSignal.timeout(10) });
} catch (error) {
  console.log(`signal: rejected with ${error instanceof Error ? error.name : error}`);
}

const left = engine.generate(prompt, endless);
let seen = 0;
for await (const { token } of left) {
  if (token >= 0 && ++seen === 5) break;
}
const { tokens, finishReason } = await left;
console.log(`loop left: ${finishReason}, ${tokens.length >= 5 ? "with its tokens" : "without tokens"}`);

const cancelled = engine.generate(prompt, endless);
setTimeout(() => cancelled.cancel(), 10);
console.log(`cancel(): ${(await cancelled).finishReason}`);

await engine.dispose();
