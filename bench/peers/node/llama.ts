/** llama.cpp through node-llama-cpp, with the binary that comes with it from npm. */
import { importPeer } from "../install.js";
import { type Peer, serve } from "./serve.js";

/** What is used of node-llama-cpp. */
interface Sequence {
  clearHistory(): Promise<void>;
  evaluate(tokens: readonly number[], options: object): AsyncIterable<number>;
  controlledEvaluate(
    input: (number | [number, object])[],
  ): Promise<({ next: { logits: Map<number, number> } } | undefined)[]>;
}
interface NodeLlamaCpp {
  getLlama(options: object): Promise<{
    llamaCppRelease: { release: string };
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): Sequence }>;
    }>;
  }>;
  getModuleVersion(): Promise<string>;
}

/** The model's positions, in one batch: a prompt is one prefill. */
const contextSize = 1024;

await serve(async ({ model, threads }: { model: string; threads: number }): Promise<Peer> => {
  const library = await importPeer<NodeLlamaCpp>("node-llama-cpp");
  const llama = await library.getLlama({
    build: "never",
    skipDownload: true,
    gpu: false,
    logLevel: "error",
    maxThreads: threads,
  });
  const loaded = await llama.loadModel({ modelPath: model });
  const context = await loaded.createContext({
    contextSize,
    batchSize: contextSize,
    threads: { ideal: threads, min: threads },
    flashAttention: true,
  });
  const sequence = context.getSequence();
  const wanted = { generateNext: { logits: true } };
  return {
    versions: {
      "node-llama-cpp": await library.getModuleVersion(),
      "llama.cpp": llama.llamaCppRelease.release,
    },
    async *generate(prompt, count) {
      await sequence.clearHistory();
      let made = 0;
      for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
        yield token;
        if (++made === count) return;
      }
    },
    async logits(prompt, token) {
      await sequence.clearHistory();
      const rows: Map<number, number>[] = [];
      for (const step of [prompt, [token]]) {
        const input = step.map((t, i): number | [number, object] => (i < step.length - 1 ? t : [t, wanted]));
        rows.push((await sequence.controlledEvaluate(input)).at(-1)!.next.logits);
      }
      return Float32Array.from(
        rows.flatMap((row) => Array.from({ length: row.size }, (_, id) => row.get(id)!)),
      );
    },
  };
});
