/** Streams one continuation, then says what it cost. */
import { Engine } from "kraken-engine";
import { demoEngine } from "./demo-engine.mjs";

const engine = await Engine.load(await demoEngine());

const run = engine.generate("It was a fine morning, and Elizabeth", {
  maxTokens: 64,
  temperature: 0.7,
  topP: 0.9,
  seed: 3,
});
for await (const { text } of run) process.stdout.write(text);

const { tokens, promptTokens, finishReason, timing } = await run;
console.log(`\n\n${promptTokens} + ${tokens.length} tokens, ended by ${finishReason}`);
console.log(`first token after ${timing.ttftMs.toFixed(1)} ms`);

await engine.dispose();
