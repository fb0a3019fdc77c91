/** This engine, through its public API: as many ranks as others have threads, one thread each. */
import { Engine } from "../../../lib/index.js";
import { type Peer, serve } from "./serve.js";

await serve(async ({ model }: { model: string }): Promise<Peer> => {
  const engine = await Engine.load(model, { maxBatchSize: 1, threadsPerRank: 1, prefixReuse: false });
  return {
    versions: engine.manifest.versions,
    async *generate(prompt, count) {
      const options = { maxTokens: count, temperature: 0, ignoreEos: true };
      for await (const { token } of engine.generate(prompt, options)) {
        if (token >= 0) yield token; // text held back comes without one, at the end
      }
    },
    async logits(prompt, token) {
      const { data, rows, vocabSize } = await engine.logits([...prompt, token]);
      return data.slice((rows - 2) * vocabSize);
    },
  };
});
