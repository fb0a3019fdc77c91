/**
 * Python's random.Random, as far as random.sample() needs it: with the harness's seed, the examples of a prompt are the
 * harness's. MT19937 (Matsumoto and Nishimura 1998), seeded by key as in its authors' second edition (2002).
 */
const size = 624;
const half = 397;

export class PythonRandom {
  readonly #state = new Uint32Array(size);
  #next = size;

  /** @param seed a whole number of at least 0 */
  constructor(seed: number) {
    const state = this.#state;
    state[0] = 19650218;
    for (let i = 1; i < size; i++) state[i] = Math.imul(1812433253, mixed(state[i - 1]!)) + i;
    const key = seed < 2 ** 32 ? [seed] : [seed % 2 ** 32, Math.floor(seed / 2 ** 32)];
    let i = 1;
    const advance = () => {
      if (++i < size) return;
      state[0] = state[size - 1]!;
      i = 1;
    };
    for (let k = 0; k < size; k++) {
      const j = k % key.length;
      state[i] = (state[i]! ^ Math.imul(mixed(state[i - 1]!), 1664525)) + key[j]! + j;
      advance();
    }
    for (let k = 1; k < size; k++) {
      state[i] = (state[i]! ^ Math.imul(mixed(state[i - 1]!), 1566083941)) - i;
      advance();
    }
    state[0] = 0x80000000;
  }

  /** 32 random bits. */
  #bits(): number {
    if (this.#next === size) this.#refill();
    let y = this.#state[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #refill(): void {
    const state = this.#state;
    for (let i = 0; i < size; i++) {
      const y = (state[i]! & 0x80000000) | (state[(i + 1) % size]! & 0x7fffffff);
      state[i] = state[(i + half) % size]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }

  /** Uniform from 0 to n − 1. */
  #below(n: number): number {
    const shift = Math.clz32(n);
    let value: number;
    do value = this.#bits() >>> shift;
    while (value >= n);
    return value;
  }

  /** `k` different indices from 0 to n − 1, in the order and by the method of random.sample(). */
  sample(n: number, k: number): number[] {
    const setSize = 21 + (k > 5 ? 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 0);
    if (n > setSize) {
      const chosen = new Set<number>();
      while (chosen.size < k) chosen.add(this.#below(n));
      return [...chosen];
    }
    const pool = Array.from({ length: n }, (_, i) => i);
    return Array.from({ length: k }, (_, i) => {
      const at = this.#below(n - i);
      const index = pool[at]!;
      pool[at] = pool[n - i - 1]!;
      return index;
    });
  }
}

const mixed = (word: number): number => word ^ (word >>> 30);
