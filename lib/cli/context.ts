/** What a command needs of the world: the terminal, the signal to stop, and the library. Tests bring their own. */
import { BrokenPipe, Interrupted } from "./failure.js";

export interface Output {
  write(text: string): unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
}

export interface Input extends AsyncIterable<Buffer | string> {
  isTTY?: boolean | undefined;
}

/** The library's parts, each imported when a command runs: `kraken --help` must not load an engine. */
export interface Library {
  build(): Promise<typeof import("../build.js")>;
  push(): Promise<typeof import("../push.js")>;
  engine(): Promise<typeof import("../engine.js")>;
  engineDirectory(): Promise<typeof import("../engine-directory.js")>;
  checkpoint(): Promise<typeof import("../checkpoint/open.js")>;
  presets(): Promise<typeof import("../presets.js")>;
  native(): Promise<typeof import("../native.js")>;
  plan(): Promise<typeof import("../plan/index.js")>;
  evaluation(): Promise<typeof import("../eval/index.js")>;
  bench(): Promise<typeof import("../bench/index.js")>;
  charts(): Promise<typeof import("../report/charts.js")>;
  server(): Promise<typeof import("../server/index.js")>;
}

export interface Context {
  stdout: Output;
  stderr: Output;
  stdin: Input;
  /** Aborts with Interrupted, or BrokenPipe when nobody reads stdout any more. */
  signal: AbortSignal;
  library: Library;
  /** Set by a command that did its work and has bad news. */
  exitCode?: number;
}

export const library: Library = {
  build: () => import("../build.js"),
  push: () => import("../push.js"),
  engine: () => import("../engine.js"),
  engineDirectory: () => import("../engine-directory.js"),
  checkpoint: () => import("../checkpoint/open.js"),
  presets: () => import("../presets.js"),
  native: () => import("../native.js"),
  plan: () => import("../plan/index.js"),
  evaluation: () => import("../eval/index.js"),
  bench: () => import("../bench/index.js"),
  charts: () => import("../report/charts.js"),
  server: () => import("../server/index.js"),
};

/** The context of this process. A second Ctrl-C ends it at once. */
export function processContext(): Context & { flush(): Promise<void> } {
  const controller = new AbortController();
  for (const [name, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(code);
      controller.abort(new Interrupted(name, code));
    });
  }
  let broken = false;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    broken = true;
    controller.abort(new BrokenPipe());
  });
  process.stderr.on("error", () => {}); // nowhere left to tell
  const flush = (stream: NodeJS.WriteStream) =>
    new Promise<void>((resolve) => {
      if (stream.destroyed || stream.writableLength === 0) resolve();
      else stream.write("", () => resolve());
    });
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    signal: controller.signal,
    library,
    async flush() {
      if (!broken) await flush(process.stdout);
      await flush(process.stderr);
    },
  };
}
