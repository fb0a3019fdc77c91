/** This engine, through its public API: two ranks or more, one thread each. */
import { Engine } from "../../../lib/index.js";
import { type Peer, serve } from "./serve.js";

await serve(async ({ model, threads }: { model: string; threads: number }): Promise<Peer> => {
  const { ranks } = (await Engine.load(model)).manifest;
  const engine = await Engine.load(model, { maxBatchSize: 1, threadsPerRank: threads / ranks });
  return {
    versions: engine.manifest.versions,
    async *generate(prompt, count) {
      const options = { maxTokens: count, temperature: 0, ignoreEos: true };
      for await (const { token } of engine.generate(prompt, options)) yield token;
    },
    async logits(prompt, token) {
      const { data, rows, vocabSize } = await engine.logits([...prompt, token]);
      return data.slice((rows - 2) * vocabSize);
    },
  };
});
