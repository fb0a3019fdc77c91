/** Every peer: what it must have installed, what it reads, and the process that runs it. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildEngine, type DType } from "../../lib/index.js";
import { cache, execute, installLlama, installNode, installPython, python } from "./install.js";
import { type Model, models, type PeerDType, type PeersOptions, type Runtime } from "./options.js";

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const node = (name: string) => [process.execPath, "--import", "tsx", file(`node/${name}.ts`)] as const;
const script = (name: string) => [python, file(`python/${name}.py`)] as const;

/** What a peer reads, made once for a model. */
interface Artifacts {
  /** Directory that everything is made in. */
  directory: string;
  model: Model;
  threads: number;
}

interface Kind {
  dtypes: readonly PeerDType[];
  models: readonly Model[];
  install(): Promise<void>;
  /** Makes what it reads, and says what `load` gets. */
  prepare(artifacts: Artifacts, dtype: PeerDType): Promise<object>;
  command: readonly [string, ...string[]];
}

const made = new Map<string, Promise<string>>();

/** The path in the directory, after `make` has made it: once for all peers that read it. */
function artifact(
  { directory, model }: Artifacts,
  name: string,
  make: (path: string) => Promise<unknown>,
): Promise<string> {
  const path = join(directory, `${model}-${name}`);
  let making = made.get(path);
  if (!making) {
    making = make(path).then(() => path);
    made.set(path, making);
  }
  return making;
}

/** The weights for everybody: a one-rank float32 engine, which is a safetensors file and a config.json. */
export const weights = (artifacts: Artifacts): Promise<string> =>
  artifact(artifacts, "weights", (output) =>
    buildEngine({ random: models[artifacts.model], output, ranks: 1, dtype: "float32" }),
  );

function exported(artifacts: Artifacts, format: "onnx" | "gguf", dtype: PeerDType): Promise<string> {
  return artifact(artifacts, `${dtype}.${format}`, async (path) => {
    await execute(python, [file(`python/export_${format}.py`), await weights(artifacts), path, dtype]);
  });
}

const all: readonly Model[] = ["kraken", "gpt2"];
const onnx: Pick<Kind, "dtypes" | "models" | "prepare"> = {
  // Its CPU kernels have no bfloat16 or float16 products.
  dtypes: ["float32", "int8"],
  models: all,
  prepare: async (artifacts, dtype) => ({
    model: await exported(artifacts, "onnx", dtype),
    threads: artifacts.threads,
  }),
};
const pytorch = (compiled: boolean): Kind => ({
  dtypes: ["bfloat16", "float32"],
  models: all,
  install: installPython,
  prepare: async (artifacts, dtype) => ({
    weights: await weights(artifacts),
    dtype,
    threads: artifacts.threads,
    compiled,
  }),
  command: script("pytorch_peer"),
});

const kinds: Record<Runtime, Kind> = {
  "kraken-engine": {
    dtypes: ["bfloat16", "float16", "float32", "int8"],
    models: all,
    install: async () => {},
    prepare: async (artifacts, dtype) => ({
      model: await artifact(artifacts, `engine-${dtype}`, (output) => {
        const random = models[artifacts.model];
        return buildEngine({ random, output, ranks: artifacts.threads, dtype: dtype as DType });
      }),
    }),
    command: node("kraken-engine"),
  },
  pytorch: pytorch(false),
  "pytorch-compile": pytorch(true),
  onnxruntime: { ...onnx, install: installPython, command: script("onnxruntime_peer") },
  "onnxruntime-node": {
    ...onnx,
    install: () => Promise.all([installPython(), installNode()]).then(() => {}),
    command: node("onnxruntime-node"),
  },
  "llama.cpp": {
    dtypes: ["bfloat16", "float16", "int8"],
    models: ["gpt2"],
    install: () => Promise.all([installPython(), installLlama()]).then(() => {}),
    prepare: async (artifacts, dtype) => ({
      model: await exported(artifacts, "gguf", dtype),
      threads: artifacts.threads,
    }),
    command: node("llama"),
  },
};

export interface Peer extends Kind {
  runtime: Runtime;
  dtype: PeerDType;
}

/** Those that were asked for and can run the model, ours first. */
export function peersOf(model: Model, options: Pick<PeersOptions, "runtimes" | "dtypes">): Peer[] {
  return options.runtimes
    .filter((runtime) => kinds[runtime].models.includes(model))
    .flatMap((runtime) =>
      options.dtypes
        .filter((dtype) => kinds[runtime].dtypes.includes(dtype))
        .map((dtype) => ({ ...kinds[runtime], runtime, dtype })),
    );
}

/** For processes of Python: threads that sleep soon when they have nothing to do, and compiled code that is kept. */
export const workerEnvironment = (threads: number): Record<string, string> => ({
  OMP_NUM_THREADS: String(threads),
  TORCHINDUCTOR_CACHE_DIR: join(cache, "inductor"),
});
