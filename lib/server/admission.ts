/**
 * How many requests are in the house. The engine bounds its own queue; this bounds what waits before it, and says when
 * to come back: after about as long as a request took lately.
 */
import { ApiError } from "./errors.js";

/** Counts who is inside, and tells when nobody is. */
export class Occupancy {
  #inside = 0;
  #waiting: (() => void)[] = [];

  get inside(): number {
    return this.#inside;
  }

  enter(): void {
    this.#inside++;
  }

  leave(): void {
    if (--this.#inside > 0) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when nobody is inside. */
  empty(): Promise<void> {
    if (this.#inside === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}

export class Admission {
  readonly #occupancy = new Occupancy();
  #typicalSeconds = 1;

  constructor(private readonly most: number) {}

  get inside(): number {
    return this.#occupancy.inside;
  }

  empty(): Promise<void> {
    return this.#occupancy.empty();
  }

  /** @returns what to call, once, when the request has ended. @throws ApiError ERR_BUSY */
  enter(): () => void {
    if (this.inside >= this.most) {
      const message = `${this.most} requests are being served or wait; try again later`;
      throw new ApiError("ERR_BUSY", message, { headers: this.retryAfter() });
    }
    this.#occupancy.enter();
    const from = performance.now();
    return () => {
      this.#typicalSeconds += 0.1 * ((performance.now() - from) / 1000 - this.#typicalSeconds);
      this.#occupancy.leave();
    };
  }

  retryAfter(): Record<string, string> {
    return { "retry-after": String(Math.min(30, Math.max(1, Math.ceil(this.#typicalSeconds)))) };
  }
}
