/** Typed reading of a model's config.json, so that every message names the file, the key and what it has. */
import { CheckpointError } from "../errors.js";
import type { Activation } from "../model-config.js";

export class ConfigJson {
  constructor(
    private readonly values: Record<string, unknown>,
    /** Names the file in messages. */
    readonly where: string,
  ) {}

  /** @throws CheckpointError ERR_CONFIG: always */
  fail(what: string): never {
    throw new CheckpointError("ERR_CONFIG", `${this.where}: ${what}`);
  }

  has(key: string): boolean {
    return this.values[key] !== undefined && this.values[key] !== null;
  }

  raw(key: string): unknown {
    return this.values[key];
  }

  /** Keys that are missing or null take the fallback; without one they are an error. */
  private read<T>(
    key: string,
    fallback: T | undefined,
    expected: string,
    accept: (value: unknown) => boolean,
  ): T {
    const value = this.values[key];
    if (value === undefined || value === null) {
      if (fallback !== undefined) return fallback;
      this.fail(`\`${key}\` is missing`);
    }
    if (!accept(value)) this.fail(`\`${key}\` must be ${expected}, got ${JSON.stringify(value)}`);
    return value as T;
  }

  integer(key: string, fallback?: number): number {
    return this.read(
      key,
      fallback,
      "a positive integer",
      (v) => Number.isSafeInteger(v) && (v as number) > 0,
    );
  }

  number(key: string, fallback?: number): number {
    return this.read(key, fallback, "a number", (v) => typeof v === "number" && Number.isFinite(v));
  }

  boolean(key: string, fallback?: boolean): boolean {
    return this.read(key, fallback, "true or false", (v) => typeof v === "boolean");
  }

  string(key: string, fallback?: string): string {
    return this.read(key, fallback, "a string", (v) => typeof v === "string");
  }

  /** One of the words that `meanings` knows. */
  oneOf<T>(key: string, meanings: Record<string, T>, fallback?: string): T {
    const word = this.string(key, fallback);
    if (!Object.hasOwn(meanings, word)) {
      this.fail(`\`${key}\` is ${JSON.stringify(word)}, supported: ${Object.keys(meanings).join(", ")}`);
    }
    return meanings[word]!;
  }

  /** The object under a key, or undefined. */
  object(key: string): ConfigJson | undefined {
    if (!this.has(key)) return undefined;
    const value = this.read<Record<string, unknown>>(
      key,
      undefined,
      "an object",
      (v) => typeof v === "object" && !Array.isArray(v),
    );
    return new ConfigJson(value, `${this.where}: ${key}`);
  }

  /** Refuses a setting that changes the numbers in a way the engine does not know. */
  refuse(key: string, unlike: unknown): void {
    if (this.has(key) && this.values[key] !== unlike) {
      this.fail(`\`${key}\`: ${JSON.stringify(this.values[key])} is not supported`);
    }
  }
}

/** transformers' words for activations, as far as the engine has them. */
export const hfActivations: Record<string, Activation> = {
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu: "gelu_erf",
  gelu_python: "gelu_erf",
};
