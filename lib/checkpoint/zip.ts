/**
 * The directory of a zip archive, by positioned reads: what lies where, without reading what lies there.
 * Only what PyTorch writes is supported: one disk, entries stored or (small ones) deflated, zip64 for large files.
 */
import { crc32, inflateRawSync } from "node:zlib";
import { CheckpointError } from "../errors.js";
import type { FileReader } from "./file-reader.js";
import { foreignFileError } from "./foreign-file.js";

export interface ZipEntry {
  name: string;
  /** 0 stored, 8 deflated. */
  method: number;
  crc: number;
  compressedSize: number;
  size: number;
  /** Byte offset of the entry's local header. */
  headerOffset: number;
}

const endSignature = 0x06054b50;
const zip64EndSignature = 0x06064b50;
const zip64LocatorSignature = 0x07064b50;
const directorySignature = 0x02014b50;
const localSignature = 0x04034b50;
const directoryLimit = 128 * 1024 * 1024;
const saturated32 = 0xffffffff;
const saturated16 = 0xffff;

export class ZipArchive {
  private constructor(
    private readonly file: FileReader,
    readonly entries: ReadonlyMap<string, ZipEntry>,
    /** Where the directory begins: no entry's data reaches beyond. */
    private readonly directoryOffset: number,
  ) {}

  /** @throws CheckpointError ERR_CHECKPOINT_FORMAT when this is no zip archive, or a damaged one */
  static async open(file: FileReader): Promise<ZipArchive> {
    const { offset, size, count } = await findDirectory(file);
    if (size > directoryLimit) damaged(file, `its directory claims ${size} bytes`);
    const bytes = await file.read(offset, size, "the zip directory");
    return new ZipArchive(file, parseDirectory(file, bytes, count), offset);
  }

  /** Byte offset in the file of a stored entry's data. */
  async dataOffset(entry: ZipEntry): Promise<number> {
    const header = await this.file.read(entry.headerOffset, 30, `the header of ${entry.name}`);
    if (header.readUInt32LE(0) !== localSignature)
      damaged(this.file, `${entry.name} has no header where it should be`);
    const offset = entry.headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
    if (offset + entry.compressedSize > this.directoryOffset) {
      damaged(
        this.file,
        `${entry.name} (${entry.compressedSize} bytes at ${offset}) reaches into the directory`,
      );
    }
    return offset;
  }

  /** Contents of a small entry, at most `limit` bytes, checked against its checksum. */
  async read(entry: ZipEntry, limit: number): Promise<Buffer> {
    if (entry.size > limit || entry.compressedSize > limit) {
      damaged(this.file, `${entry.name} claims ${entry.size} bytes, more than the ${limit} it may have`);
    }
    let bytes = await this.file.read(await this.dataOffset(entry), entry.compressedSize, entry.name);
    if (entry.method === 8) {
      try {
        bytes = inflateRawSync(bytes, { maxOutputLength: Math.max(1, entry.size) });
      } catch (error) {
        damaged(this.file, `${entry.name} does not decompress: ${(error as Error).message}`);
      }
    } else if (entry.method !== 0) {
      damaged(this.file, `${entry.name} is compressed by method ${entry.method}, which is not supported`);
    }
    if (bytes.length !== entry.size || crc32(bytes) !== entry.crc) {
      damaged(this.file, `${entry.name} does not match its checksum`);
    }
    return bytes;
  }
}

function damaged(file: FileReader, what: string): never {
  throw new CheckpointError("ERR_CHECKPOINT_FORMAT", `${file.path}: damaged zip archive: ${what}`);
}

/** A 64-bit field as a number; sizes beyond 2^53 do not exist. */
function uint64(bytes: Buffer, offset: number): number {
  return Number(bytes.readBigUInt64LE(offset));
}

async function findDirectory(file: FileReader): Promise<{ offset: number; size: number; count: number }> {
  // The end record is last but for a comment of up to 64 KiB.
  const tailLength = Math.min(file.size, 22 + saturated16);
  const tail = await file.read(file.size - tailLength, tailLength, "the end of the archive");
  let at = tail.length - 22;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === endSignature && at + 22 + tail.readUInt16LE(at + 20) === tail.length)
  ) {
    at--;
  }
  if (at < 0) {
    throw foreignFileError(
      file.path,
      await file.read(0, Math.min(512, file.size), "its beginning"),
      "a torch checkpoint (a zip archive)",
    );
  }
  let [count, size, offset] = [
    tail.readUInt16LE(at + 10),
    tail.readUInt32LE(at + 12),
    tail.readUInt32LE(at + 16),
  ];
  const end = file.size - tailLength + at;
  if (count === saturated16 || size === saturated32 || offset === saturated32) {
    const locator = await file.read(end - 20, 20, "the zip64 locator");
    if (locator.readUInt32LE(0) !== zip64LocatorSignature) damaged(file, "its zip64 locator is missing");
    const record = await file.read(uint64(locator, 8), 56, "the zip64 end record");
    if (record.readUInt32LE(0) !== zip64EndSignature) damaged(file, "its zip64 end record is missing");
    [count, size, offset] = [uint64(record, 32), uint64(record, 40), uint64(record, 48)];
  }
  if (offset + size > end) damaged(file, "its directory reaches beyond its end");
  return { offset, size, count };
}

function parseDirectory(file: FileReader, bytes: Buffer, count: number): Map<string, ZipEntry> {
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== directorySignature) {
      damaged(file, `entry ${i} of ${count} is missing from its directory`);
    }
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((o) => bytes.readUInt16LE(at + o)) as [
      number,
      number,
      number,
    ];
    const next = at + 46 + nameLength + extraLength + commentLength;
    if (next > bytes.length) damaged(file, `entry ${i} reaches beyond its directory`);
    const name = bytes.toString("utf8", at + 46, at + 46 + nameLength);
    const extra = bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength);
    if (entries.has(name)) damaged(file, `it has two entries named ${name}`);
    if (bytes.readUInt16LE(at + 8) & 1) damaged(file, `${name} is encrypted`);
    entries.set(name, {
      name,
      method: bytes.readUInt16LE(at + 10),
      crc: bytes.readUInt32LE(at + 16),
      ...entrySizes(file, bytes, at, extra),
    });
    at = next;
  }
  return entries;
}

/** Sizes and offset; a saturated 32-bit field stands in the zip64 extra field, in this order. */
function entrySizes(file: FileReader, bytes: Buffer, at: number, extra: Buffer) {
  const fields = { size: 24, compressedSize: 20, headerOffset: 42 };
  let zip64: Buffer | undefined;
  for (let i = 0; i + 4 <= extra.length; i += 4 + extra.readUInt16LE(i + 2)) {
    if (extra.readUInt16LE(i) === 1) zip64 = extra.subarray(i + 4, i + 4 + extra.readUInt16LE(i + 2));
  }
  let used = 0;
  const value = (offset: number): number => {
    const short = bytes.readUInt32LE(at + offset);
    if (short !== saturated32) return short;
    if (!zip64 || used + 8 > zip64.length) damaged(file, "a zip64 size is missing from its directory");
    used += 8;
    return uint64(zip64, used - 8);
  };
  return {
    size: value(fields.size),
    compressedSize: value(fields.compressedSize),
    headerOffset: value(fields.headerOffset),
  };
}
