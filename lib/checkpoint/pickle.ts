/**
 * A pickle machine that executes nothing: the opcodes build plain values, and every global, call and persistent
 * reference is put to a host, which answers from a closed set or throws (torch-globals.ts).
 * Opcodes of protocols 2 to 5 as Python writes them; everything is bounded, so hostile input ends in a coded error.
 */
import { CheckpointError } from "../errors.js";

/** What a pickle refers to outside itself. */
export interface PickleHost {
  /** The object a dotted name stands for. */
  global(name: string): unknown;
  call(callable: unknown, args: readonly unknown[]): unknown;
  persistent(id: unknown): unknown;
}

export interface PickleLimits {
  /** Values on the stack at once. */
  stack: number;
  /** Containers, calls and memo entries in all. */
  objects: number;
}

export const defaultLimits: PickleLimits = { stack: 1_000_000, objects: 4_000_000 };

/**
 * The value a pickle describes: null, boolean, number, bigint, string, Uint8Array (bytes), array (list, tuple, set),
 * Map (dict), and whatever the host answers.
 * @param where names the pickle in messages
 * @throws CheckpointError ERR_CHECKPOINT_FORMAT for a damaged or unsupported pickle, and what the host throws
 */
export function unpickle(bytes: Buffer, host: PickleHost, where: string, limits = defaultLimits): unknown {
  return new Machine(bytes, host, where, limits).run();
}

class Machine {
  private position = 0;
  private stack: unknown[] = [];
  /** The stacks that MARKs set aside. */
  private readonly below: unknown[][] = [];
  private depth = 0;
  private readonly memo = new Map<number, unknown>();
  private objects = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly host: PickleHost,
    private readonly where: string,
    private readonly limits: PickleLimits,
  ) {}

  run(): unknown {
    for (;;) {
      const at = this.position;
      const opcode = this.bytes[this.take(1)]!;
      if (opcode === 0x2e /* STOP */) return this.pop();
      const operation = operations[opcode];
      if (!operation) this.fail(`unsupported opcode 0x${opcode.toString(16).padStart(2, "0")} at byte ${at}`);
      operation(this);
      if (this.depth + this.stack.length > this.limits.stack) this.fail("its stack grows without bound");
    }
  }

  fail(what: string): never {
    throw new CheckpointError("ERR_CHECKPOINT_FORMAT", `${this.where}: damaged pickle: ${what}`);
  }

  /** Where the next `length` bytes begin; moves behind them. */
  take(length: number): number {
    const at = this.position;
    if (!(length <= this.bytes.length - at)) this.fail(`it ends in the middle of an opcode (byte ${at})`);
    this.position = at + length;
    return at;
  }

  uint8 = () => this.bytes.readUInt8(this.take(1));
  uint16 = () => this.bytes.readUInt16LE(this.take(2));
  uint32 = () => this.bytes.readUInt32LE(this.take(4));
  uint64 = () => Number(this.bytes.readBigUInt64LE(this.take(8)));
  int32 = () => this.bytes.readInt32LE(this.take(4));
  float64 = () => this.bytes.readDoubleBE(this.take(8));

  text(length: number): string {
    const at = this.take(length);
    return this.bytes.toString("utf8", at, at + length);
  }

  raw(length: number): Uint8Array {
    const at = this.take(length);
    return this.bytes.subarray(at, at + length);
  }

  line(): string {
    const end = this.bytes.indexOf(0x0a, this.position);
    if (end < 0 || end - this.position > 1000) this.fail("a line without end");
    const text = this.text(end - this.position);
    this.take(1);
    return text;
  }

  /** Two's complement, little-endian, of `length` bytes. */
  integer(length: number): number | bigint {
    if (length > 64) this.fail(`an integer of ${length} bytes`);
    let value = 0n;
    for (const byte of this.raw(length).toReversed()) value = (value << 8n) | BigInt(byte);
    value = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  push(value: unknown): void {
    this.stack.push(value);
  }

  pop(): unknown {
    if (this.stack.length === 0) this.fail("it takes more from its stack than it put there");
    return this.stack.pop();
  }

  top(): unknown {
    if (this.stack.length === 0) this.fail("it looks at an empty stack");
    return this.stack.at(-1);
  }

  mark(): void {
    this.depth += this.stack.length + 1;
    this.below.push(this.stack);
    this.stack = [];
  }

  popMark(): unknown[] {
    const items = this.stack;
    const below = this.below.pop();
    if (!below) this.fail("a mark is missing");
    this.stack = below;
    this.depth -= below.length + 1;
    return items;
  }

  /** Counts one more object. */
  counted<T>(value: T): T {
    if (++this.objects > this.limits.objects) this.fail("it holds more objects than any checkpoint");
    return value;
  }

  tuple(length: number): void {
    if (this.stack.length < length) this.fail("a tuple of more values than there are");
    this.push(this.counted(this.stack.splice(this.stack.length - length, length)));
  }

  store(index: number): void {
    this.memo.set(index, this.counted(this.top()));
  }

  memoize = () => this.store(this.memo.size);

  recall(index: number): void {
    if (!this.memo.has(index)) this.fail(`it refers to value ${index}, which it does not hold`);
    this.push(this.memo.get(index));
  }

  append(items: readonly unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) this.fail("it appends to something that is no list");
    for (const item of items) list.push(item);
  }

  setItems(items: readonly unknown[]): void {
    const map = this.top();
    if (!(map instanceof Map) || items.length % 2 !== 0)
      this.fail("it sets entries of something that is no dict");
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  global(module: unknown, name: unknown): void {
    if (typeof module !== "string" || typeof name !== "string") this.fail("a global without a name");
    this.push(this.host.global(`${module}.${name}`));
  }

  reduce(): void {
    const args = this.pop();
    const callable = this.pop();
    if (!Array.isArray(args)) this.fail("a call whose arguments are no tuple");
    this.push(this.counted(this.host.call(callable, args)));
  }

  persistent(): void {
    this.push(this.counted(this.host.persistent(this.pop())));
  }

  protocol(): void {
    const version = this.uint8();
    if (version > 5) this.fail(`protocol ${version} is not supported`);
  }
}

/** By opcode; names as in CPython's pickle.py. */
const operations: Record<number, (m: Machine) => void> = {
  128: (m) => m.protocol(), // PROTO
  149: (m) => m.take(8), // FRAME
  40: (m) => m.mark(), // MARK
  48: (m) => m.pop(), // POP
  49: (m) => m.popMark(), // POP_MARK

  78: (m) => m.push(null), // NONE
  136: (m) => m.push(true), // NEWTRUE
  137: (m) => m.push(false), // NEWFALSE
  75: (m) => m.push(m.uint8()), // BININT1
  77: (m) => m.push(m.uint16()), // BININT2
  74: (m) => m.push(m.int32()), // BININT
  138: (m) => m.push(m.integer(m.uint8())), // LONG1
  139: (m) => m.push(m.integer(m.uint32())), // LONG4
  71: (m) => m.push(m.float64()), // BINFLOAT
  140: (m) => m.push(m.text(m.uint8())), // SHORT_BINUNICODE
  88: (m) => m.push(m.text(m.uint32())), // BINUNICODE
  141: (m) => m.push(m.text(m.uint64())), // BINUNICODE8
  85: (m) => m.push(m.text(m.uint8())), // SHORT_BINSTRING
  84: (m) => m.push(m.text(m.uint32())), // BINSTRING
  67: (m) => m.push(m.raw(m.uint8())), // SHORT_BINBYTES
  66: (m) => m.push(m.raw(m.uint32())), // BINBYTES
  142: (m) => m.push(m.raw(m.uint64())), // BINBYTES8

  41: (m) => m.tuple(0), // EMPTY_TUPLE
  133: (m) => m.tuple(1), // TUPLE1
  134: (m) => m.tuple(2), // TUPLE2
  135: (m) => m.tuple(3), // TUPLE3
  116: (m) => m.push(m.counted(m.popMark())), // TUPLE
  93: (m) => m.push(m.counted([])), // EMPTY_LIST
  108: (m) => m.push(m.counted(m.popMark())), // LIST
  97: (m) => m.append([m.pop()]), // APPEND
  101: (m) => m.append(m.popMark()), // APPENDS
  125: (m) => m.push(m.counted(new Map())), // EMPTY_DICT
  115: (m) => m.setItems([m.pop(), m.pop()].reverse()), // SETITEM
  117: (m) => m.setItems(m.popMark()), // SETITEMS
  143: (m) => m.push(m.counted([])), // EMPTY_SET
  144: (m) => m.append(m.popMark()), // ADDITEMS
  145: (m) => m.push(m.counted(m.popMark())), // FROZENSET

  113: (m) => m.store(m.uint8()), // BINPUT
  114: (m) => m.store(m.uint32()), // LONG_BINPUT
  148: (m) => m.memoize(), // MEMOIZE
  104: (m) => m.recall(m.uint8()), // BINGET
  106: (m) => m.recall(m.uint32()), // LONG_BINGET

  99: (m) => m.global(m.line(), m.line()), // GLOBAL
  147: (m) => m.global(...([m.pop(), m.pop()].reverse() as [unknown, unknown])), // STACK_GLOBAL
  82: (m) => m.reduce(), // REDUCE
  129: (m) => m.reduce(), // NEWOBJ
  98: (m) => m.pop(), // BUILD: an object's attributes, e.g. a state dict's _metadata; nobody reads them
  81: (m) => m.persistent(), // BINPERSID
};
