/** ONNX Runtime from JavaScript, on the files that its Python twin runs. */
import { join } from "node:path";
import { importPeer } from "../install.js";
import { argmax, type Peer, serve } from "./serve.js";

/** What is used of onnxruntime-node. */
interface Tensor {
  data: Float32Array;
}
interface Session {
  inputNames: string[];
  outputNames: string[];
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
}
interface OnnxRuntime {
  env: { versions: { node?: string } };
  InferenceSession: { create(path: string, options: object): Promise<Session> };
  Tensor: new (type: "int64", data: BigInt64Array, shape: number[]) => Tensor;
}

await serve(async ({ model, threads }: { model: string; threads: number }): Promise<Peer> => {
  const ort = await importPeer<OnnxRuntime>("onnxruntime-node");
  const options = {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    // While another peer is timed, no thread of this one may spin.
    extra: { session: { force_spinning_stop: "1" } },
  };
  const open = (name: string) => ort.InferenceSession.create(join(model, `${name}.onnx`), options);
  const [prefill, decode] = await Promise.all([open("prefill"), open("decode")]);
  const states = prefill.outputNames.filter((name) => name !== "logits");
  const ids = (tokens: readonly number[]) =>
    new ort.Tensor("int64", BigInt64Array.from(tokens, BigInt), [1, tokens.length]);
  const next = (token: number, state: Record<string, Tensor>) => {
    const past = states.map((name) => [`past.${name}`, state[name]!] as const);
    return decode.run({ ids: ids([token]), ...Object.fromEntries(past) });
  };
  return {
    versions: { "onnxruntime-node": ort.env.versions.node ?? "" },
    async *generate(prompt, count) {
      let state = await prefill.run({ ids: ids(prompt) });
      for (let made = 1; ; made++) {
        const token = argmax(state.logits!.data);
        yield token;
        if (made === count) return;
        state = await next(token, state);
      }
    },
    async logits(prompt, token) {
      const first = await prefill.run({ ids: ids(prompt) });
      const second = await next(token, first);
      return Float32Array.from([...first.logits!.data, ...second.logits!.data]);
    },
  };
});
