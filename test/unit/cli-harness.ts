/** Runs `kraken …` inside the test: streams that remember, and a library of fakes. */

import type { Context, Library, Output } from "../../lib/cli/context.js";
import { library } from "../../lib/cli/context.js";
import { run } from "../../lib/cli/program.js";
import type { GenerationResult } from "../../lib/generation.js";
import type { GenerationEvent } from "../../lib/sample-stream.js";

class Recorder implements Output {
  text = "";
  isTTY: boolean;
  columns = 100;
  constructor(terminal: boolean) {
    this.isTTY = terminal;
  }
  write(text: string): void {
    this.text += text;
  }
}

export interface World {
  library?: { [K in keyof Library]?: unknown };
  /** What is piped in; without it stdin is a terminal. */
  stdin?: string | Uint8Array[];
  terminal?: boolean;
  signal?: AbortSignal;
}

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

export async function kraken(args: string[], world: World = {}): Promise<Ran> {
  const stdout = new Recorder(world.terminal ?? false);
  const stderr = new Recorder(world.terminal ?? false);
  const chunks = typeof world.stdin === "string" ? [Buffer.from(world.stdin)] : (world.stdin ?? []);
  const context: Context = {
    stdout,
    stderr,
    stdin: {
      isTTY: world.stdin === undefined,
      async *[Symbol.asyncIterator]() {
        yield* chunks as Buffer[];
      },
    },
    signal: world.signal ?? new AbortController().signal,
    library: { ...library, ...(world.library as Library) },
  };
  const code = await run(args, context);
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** What an engine was asked, and a library whose Engine it is. */
export interface FakeEngine {
  library: { engine: unknown };
  directory?: string;
  load?: Record<string, unknown>;
  prompt?: unknown;
  options?: Record<string, unknown>;
  disposed: boolean;
}

interface FakeAnswers {
  events?: GenerationEvent[];
  result?: Partial<GenerationResult>;
  score?: unknown;
  /** Thrown by load(). */
  loadError?: Error;
  /** Rejects the generation after its events. */
  failure?: Error;
  hasTokenizer?: boolean;
}

const timing = { ttftMs: 12, engineTtftMs: 11, queueMs: 0, decodeMsPerToken: 3, totalMs: 30, preemptions: 0 };

export function fakeEngine(answers: FakeAnswers = {}): FakeEngine {
  const fake: FakeEngine = { library: { engine: undefined }, disposed: false };
  const { events = [], failure, hasTokenizer = true } = answers;
  const result = {
    text: events.map((event) => event.text).join(""),
    tokens: events.map((event) => event.token).filter((token) => token >= 0),
    finishReason: "length",
    promptTokens: 3,
    cachedTokens: 0,
    seed: 7,
    timing,
    ...answers.result,
  };
  const engine = {
    config: { architecture: "gpt", layers: 1 },
    tokenizer: hasTokenizer ? { decode: (ids: number[]) => `<${ids}>` } : undefined,
    generate(prompt: unknown, options: Record<string, unknown>) {
      fake.prompt = prompt;
      fake.options = options;
      const whole = failure ? Promise.reject(failure) : Promise.resolve(result);
      whole.catch(() => {});
      return {
        async *[Symbol.asyncIterator]() {
          yield* events;
          if (failure) throw failure;
        },
        // biome-ignore lint/suspicious/noThenProperty: awaitable, as the real one is
        then: whole.then.bind(whole),
      };
    },
    async score(prompt: unknown) {
      fake.prompt = prompt;
      return answers.score;
    },
    async dispose() {
      fake.disposed = true;
    },
  };
  const Engine = {
    async load(directory: string, load: Record<string, unknown>) {
      fake.directory = directory;
      fake.load = load;
      if (answers.loadError) throw answers.loadError;
      return engine;
    },
  };
  fake.library.engine = async () => ({ Engine });
  return fake;
}

/** Without the keys that were not given. */
export function given(options: Record<string, unknown> | undefined): Record<string, unknown> {
  const { signal, onProgress, ...rest } = options ?? {};
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
}
