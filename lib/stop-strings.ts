/**
 * Finds stop strings in text that arrives in pieces. Text that may be the beginning of a stop string is held back.
 * The result does not depend on how the text was cut: the stop string that is complete first wins; of several that
 * are complete with the same character, the longest.
 */
export class StopStrings {
  #held = "";

  constructor(private readonly stops: readonly string[]) {}

  /** Text that can be shown now, and the stop string that was found after it, if any. */
  push(piece: string): { text: string; stop?: string } {
    if (this.stops.length === 0) return { text: piece };
    const text = this.#held + piece;
    let end = Number.POSITIVE_INFINITY;
    let found = "";
    for (const stop of this.stops) {
      const at = text.indexOf(stop);
      if (at < 0) continue;
      const stopEnd = at + stop.length;
      if (stopEnd < end || (stopEnd === end && stop.length > found.length)) [end, found] = [stopEnd, stop];
    }
    if (found !== "") {
      this.#held = "";
      return { text: text.slice(0, end - found.length), stop: found };
    }
    const held = this.#longestBeginning(text);
    this.#held = text.slice(text.length - held);
    return { text: text.slice(0, text.length - held) };
  }

  /** What was held back; nothing comes after it. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }

  /** Length of the longest end of `text` that a stop string begins with. */
  #longestBeginning(text: string): number {
    let longest = 0;
    for (const stop of this.stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
