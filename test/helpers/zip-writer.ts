/** Writes zip archives as torch.save does (stored entries, aligned), and in ways it does not. */
import { crc32, deflateRawSync } from "node:zlib";

export interface ZipInput {
  name: string;
  data: Uint8Array;
  deflate?: boolean;
  encrypted?: boolean;
}

/** @param zip64 put every size and offset into the 64-bit fields, as for archives above 4 GB */
export function zip(inputs: readonly ZipInput[], { zip64 = false } = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let position = 0;
  const add = (bytes: Buffer) => {
    parts.push(bytes);
    position += bytes.length;
  };
  for (const { name, data, deflate = false, encrypted = false } of inputs) {
    const stored = deflate ? deflateRawSync(data) : Buffer.from(data);
    const offset = position;
    const path = Buffer.from(name, "utf8");
    const padding = (64 - ((position + 30 + path.length + 4) % 64)) % 64;
    const extra = Buffer.concat([uint16(0x4246), uint16(padding), Buffer.alloc(padding)]);
    const fields = [uint16(encrypted ? 1 : 0), uint16(deflate ? 8 : 0), uint32(0), uint32(crc32(data))];
    add(
      Buffer.concat([uint32(0x04034b50), uint16(45), ...fields, uint32(stored.length), uint32(data.length)]),
    );
    add(Buffer.concat([uint16(path.length), uint16(extra.length), path, extra]));
    add(stored);
    const sizes = zip64
      ? { short: [0xffffffff, 0xffffffff, 0xffffffff], extra: zip64Extra(data.length, stored.length, offset) }
      : { short: [stored.length, data.length, offset], extra: Buffer.alloc(0) };
    directory.push(
      Buffer.concat([uint32(0x02014b50), uint16(45), uint16(45), ...fields]),
      Buffer.concat([uint32(sizes.short[0]!), uint32(sizes.short[1]!)]),
      Buffer.concat([
        uint16(path.length),
        uint16(sizes.extra.length),
        uint16(0),
        uint16(0),
        uint16(0),
        uint32(0),
      ]),
      Buffer.concat([uint32(sizes.short[2]!), path, sizes.extra]),
    );
  }
  const begin = position;
  for (const entry of directory) add(entry);
  const size = position - begin;
  const count = inputs.length;
  if (zip64) {
    const record = position;
    add(Buffer.concat([uint32(0x06064b50), uint64(44), uint16(45), uint16(45), uint32(0), uint32(0)]));
    add(Buffer.concat([uint64(count), uint64(count), uint64(size), uint64(begin)]));
    add(Buffer.concat([uint32(0x07064b50), uint32(0), uint64(record), uint32(1)]));
  }
  const end = zip64 ? [0xffff, 0xffffffff, 0xffffffff] : [count, size, begin];
  add(Buffer.concat([uint32(0x06054b50), uint16(0), uint16(0), uint16(end[0]!), uint16(end[0]!)]));
  add(Buffer.concat([uint32(end[1]!), uint32(end[2]!), uint16(0)]));
  return Buffer.concat(parts);
}

function zip64Extra(size: number, stored: number, offset: number): Buffer {
  return Buffer.concat([uint16(1), uint16(24), uint64(size), uint64(stored), uint64(offset)]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
