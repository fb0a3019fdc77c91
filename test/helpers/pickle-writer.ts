/** Writes pickles of protocol 2 and 4, as Python would, and hostile ones. */

export class Global {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}
}

export class Tuple {
  readonly items: unknown[];
  constructor(...items: unknown[]) {
    this.items = items;
  }
}

/** A call of a global. */
export class Call {
  constructor(
    readonly target: Global,
    readonly args: Tuple,
    /** Given to BUILD afterwards. */
    readonly state?: unknown,
  ) {}
}

/** What torch writes a storage as. */
export class Persistent {
  constructor(readonly id: unknown) {}
}

/** Map and plain objects become dicts, arrays lists. */
export function pickle(value: unknown, { protocol = 2 } = {}): Buffer {
  const parts: Buffer[] = [Buffer.from([0x80, protocol])];
  const op = (...bytes: (number | Buffer)[]) => {
    for (const part of bytes) parts.push(typeof part === "number" ? Buffer.from([part]) : part);
  };
  const text = (value: string) => {
    const bytes = Buffer.from(value, "utf8");
    if (protocol >= 4 && bytes.length < 256) op(0x8c, bytes.length, bytes);
    else op(0x58, int32(bytes.length), bytes);
  };
  const write = (value: unknown): void => {
    if (value === null || value === undefined) op(0x4e);
    else if (typeof value === "boolean") op(value ? 0x88 : 0x89);
    else if (typeof value === "string") text(value);
    else if (typeof value === "bigint") op(0x8a, 8, int64(value));
    else if (typeof value === "number") writeNumber(value);
    else if (value instanceof Uint8Array) op(0x43, value.length, Buffer.from(value));
    else if (value instanceof Global) writeGlobal(value);
    else if (value instanceof Tuple) {
      op(0x28);
      value.items.forEach(write);
      op(0x74);
    } else if (value instanceof Call) {
      write(value.target);
      write(value.args);
      op(0x52);
      if (value.state !== undefined) {
        write(value.state);
        op(0x62);
      }
    } else if (value instanceof Persistent) {
      write(value.id);
      op(0x51);
    } else if (Array.isArray(value)) {
      op(0x5d, 0x28);
      value.forEach(write);
      op(0x65);
    } else {
      op(0x7d, 0x28);
      for (const [key, entry] of value instanceof Map ? value : Object.entries(value)) {
        write(key);
        write(entry);
      }
      op(0x75);
    }
  };
  const writeNumber = (value: number) => {
    if (!Number.isInteger(value)) op(0x47, float64(value));
    else if (value >= 0 && value < 256) op(0x4b, value);
    else if (Math.abs(value) < 2 ** 31) op(0x4a, int32(value));
    else op(0x8a, 8, int64(BigInt(value)));
  };
  const writeGlobal = ({ module, name }: Global) => {
    if (protocol >= 4) {
      text(module);
      text(name);
      op(0x93);
    } else op(0x63, Buffer.from(`${module}\n${name}\n`));
  };
  write(value);
  op(0x2e);
  return Buffer.concat(parts);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
}

function float64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return bytes;
}
