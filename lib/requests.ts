/**
 * The requests of one executor that have not ended: gives each its responses, and keeps the process alive while there
 * are any. Knows nothing of the Engine, so that an Engine nobody holds can be collected.
 */
import { errorFromCode, fromNative, type KrakenError, RuntimeError } from "./errors.js";
import type { NativeExecutor, NativeRequest, NativeResponse } from "./native.js";

/** Whoever waits for the responses of a request. Its methods must not throw. */
export interface Consumer {
  receive(response: NativeResponse): void;
  /** The request failed; nothing else comes. */
  reject(error: unknown): void;
}

interface Pending {
  consumer: Consumer;
  /** Samples whose last event has not come. */
  open: number;
}

export class RequestTable {
  readonly #pending = new Map<number, Pending>();
  #executor: NativeExecutor | undefined;
  #idle: (() => void)[] = [];

  /** Must be called before submit(). */
  attach(executor: NativeExecutor): void {
    this.#executor = executor;
  }

  get size(): number {
    return this.#pending.size;
  }

  /**
   * @throws KrakenError ERR_QUEUE_FULL, ERR_OUT_OF_KV_CACHE (it can never fit), ERR_DISPOSED, ERR_RANK_LOST
   */
  submit(request: NativeRequest, consumer: Consumer): number {
    let id: number;
    try {
      id = this.#executor!.enqueue(request);
    } catch (error) {
      throw fromNative(error);
    }
    if (this.#pending.size === 0) this.#executor!.setKeepAlive(true);
    this.#pending.set(id, { consumer, open: request.samples });
    return id;
  }

  /** The request's samples still end with events of their own. */
  cancel(id: number): void {
    if (this.#pending.has(id)) this.#executor!.cancel(id);
  }

  /** Callback for the executor: all events of one or more steps. */
  readonly receive = (responses: readonly NativeResponse[]): void => {
    for (const response of responses) {
      const pending = this.#pending.get(response.request);
      if (!pending) continue;
      if (response.finish === "error") {
        pending.consumer.reject(
          errorFromCode(response.errorCode ?? "ERR_INTERNAL", response.errorMessage ?? "the request failed"),
        );
      } else {
        pending.consumer.receive(response);
      }
      if (response.finish !== "" && --pending.open === 0) this.#remove(response.request);
    }
  };

  /** Rejects what is pending, whose events are still awaited. */
  rejectAll(error: KrakenError): void {
    for (const { consumer } of this.#pending.values()) consumer.reject(error);
  }

  /** After the executor has ended: whatever is still pending gets no more events. */
  clear(): void {
    this.rejectAll(new RuntimeError("ERR_DISPOSED", "the engine was disposed"));
    for (const id of [...this.#pending.keys()]) this.#remove(id);
  }

  /** Resolves when nothing is pending. */
  idle(): Promise<void> {
    if (this.#pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
    });
  }

  #remove(id: number): void {
    this.#pending.delete(id);
    if (this.#pending.size > 0) return;
    this.#executor!.setKeepAlive(false);
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
