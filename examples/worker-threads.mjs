/**
 * An engine in each of two worker threads, for programs whose own work keeps a thread busy. Engines compute on threads of
 * their own in any case: for serving many requests, one engine on the main thread is simpler.
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Engine } from "kraken-engine";
import { demoEngine } from "./demo-engine.mjs";

if (isMainThread) {
  const directory = await demoEngine();
  const prompts = ["My dear Jane", "The weather"];
  await Promise.all(
    prompts.map(async (prompt, i) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { directory, prompt, seed: i } });
      const text = await new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
      });
      console.log(`worker ${i}: ${JSON.stringify(prompt + text)}`);
    }),
  );
} else {
  const { directory, prompt, seed } = workerData;
  const engine = await Engine.load(directory, { maxBatchSize: 1, threadsPerRank: 1 });
  const { text } = await engine.generate(prompt, { maxTokens: 24, temperature: 0.7, seed });
  parentPort?.postMessage(text);
  await engine.dispose();
}
