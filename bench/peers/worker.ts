/** A peer in a process of its own: a JSON request a line in, a JSON reply a line out; it sleeps in between. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

export interface Generated {
  tokens: number[];
  /** From the ids to the first token, both in the peer's own process. */
  ttftMs: number;
  /** Mean of the tokens after the first; null for a single one. */
  decodeMsPerToken: number | null;
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export class Worker {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #pending: Pending | undefined;
  #diagnostics = "";
  #failure: Error | undefined;

  constructor([program, ...args]: readonly [string, ...string[]], env: Record<string, string>) {
    this.#child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stdin!.on("error", () => {}); // the end is told by "close"
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#diagnostics = (this.#diagnostics + text).slice(-4000);
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#receive(line));
    this.#ended = new Promise((resolve) => {
      const end = (why: string) => {
        const last = this.#diagnostics.trim().split("\n").slice(-2).join(" ");
        this.#fail(new Error(last ? `${why}: ${last}` : why));
        resolve();
      };
      this.#child.once("error", (error) => end(error.message));
      this.#child.once("close", (code, signal) => end(`its process ended with ${signal ?? code}`));
    });
  }

  load(parameters: object): Promise<{ versions: Record<string, string> }> {
    return this.#request("load", parameters, 300);
  }

  /** The greedy continuation. The first of a prompt length may compile for minutes. */
  generate(prompt: readonly number[], count: number): Promise<Generated> {
    return this.#request("generate", { prompt, count }, 900);
  }

  /** [2, vocabulary]: after the prompt, and one decode step later, after `token`. */
  async logits(prompt: readonly number[], token: number): Promise<Float32Array> {
    const { float32 } = await this.#request<{ float32: string }>("logits", { prompt, token }, 900);
    const bytes = Uint8Array.from(Buffer.from(float32, "base64"));
    return new Float32Array(bytes.buffer);
  }

  /** Processor time of the process so far; NaN where the system doesn't tell. */
  processorMs(): number {
    try {
      const [user, system] = readFileSync(`/proc/${this.#child.pid}/stat`, "latin1")
        .split(") ")[1]!
        .split(" ")
        .slice(11, 13);
      return 10 * (Number(user) + Number(system)); // clock ticks of 10 ms
    } catch {
      return Number.NaN;
    }
  }

  /** Ends the process; resolves when it has. */
  async stop(): Promise<void> {
    this.#child.stdin!.end();
    const impatient = setTimeout(() => this.#child.kill("SIGKILL"), 5000);
    await this.#ended;
    clearTimeout(impatient);
  }

  #request<Result>(action: string, parameters: object, seconds: number): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      const late = setTimeout(() => {
        this.#fail(new Error(`no reply to ${action} within ${seconds} s`));
        this.#child.kill("SIGKILL");
      }, 1000 * seconds);
      const settle =
        <Value>(settled: (value: Value) => void) =>
        (value: Value) => {
          clearTimeout(late);
          settled(value);
        };
      this.#pending = { resolve: settle(resolve as (result: unknown) => void), reject: settle(reject) };
      this.#child.stdin!.write(`${JSON.stringify({ do: action, with: parameters })}\n`);
    });
  }

  #receive(line: string): void {
    const pending = this.#pending;
    this.#pending = undefined;
    try {
      const { result, error } = JSON.parse(line);
      if (error === undefined) pending?.resolve(result);
      else pending?.reject(new Error(error));
    } catch {
      pending?.reject(new Error(`a reply that is not JSON: ${line.slice(0, 200)}`));
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#pending?.reject(this.#failure);
    this.#pending = undefined;
  }
}
