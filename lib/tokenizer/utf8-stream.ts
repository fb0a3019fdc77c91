/** UTF-8 bytes to text as they arrive: a character comes out when its last byte is in. */

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Text of whole UTF-8; what is invalid becomes U+FFFD. */
export function decodeUtf8(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

export class Utf8Stream {
  /** The beginning of a character, at most 3 bytes. */
  private held: Uint8Array = new Uint8Array();

  /** The text that is certain now. The concatenation of all, with `flush`, is `decodeUtf8` of all bytes. */
  push(bytes: Uint8Array): string {
    if (bytes.length === 0) return "";
    const all = this.held.length === 0 ? bytes : Buffer.concat([this.held, bytes]);
    const complete = all.length - incompleteTail(all);
    this.held = all.slice(complete);
    return decodeUtf8(all.subarray(0, complete));
  }

  /** U+FFFD for a character that never became whole, otherwise "". */
  flush(): string {
    const text = decodeUtf8(this.held);
    this.held = new Uint8Array();
    return text;
  }
}

/** How many bytes at the end begin a character that further bytes may still complete. */
function incompleteTail(bytes: Uint8Array): number {
  for (let length = 1; length <= Math.min(3, bytes.length); length++) {
    const lead = bytes[bytes.length - length]!;
    if (lead >= 0x80 && lead < 0xc0) continue; // continues a character: its lead is further to the left
    const wanted =
      lead >= 0xf0 && lead <= 0xf4
        ? 4
        : lead >= 0xe0 && lead < 0xf0
          ? 3
          : lead >= 0xc2 && lead < 0xe0
            ? 2
            : 1;
    if (wanted <= length) return 0;
    return length === 1 || canFollow(lead, bytes[bytes.length - length + 1]!) ? length : 0;
  }
  return 0;
}

/** Whether the second byte keeps the code point in range: no overlong forms, no surrogates, none above U+10FFFF. */
function canFollow(lead: number, second: number): boolean {
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second < 0xa0;
  if (lead === 0xf0) return second >= 0x90;
  if (lead === 0xf4) return second < 0x90;
  return true;
}
