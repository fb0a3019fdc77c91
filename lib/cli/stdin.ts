/** Text piped into the command. */
import type { Context } from "./context.js";

/** All of stdin as UTF-8. Rejects with the signal's reason when aborted. */
export async function readAll({ stdin, signal }: Context): Promise<string> {
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort);
  });
  const reading = (async () => {
    const decoder = new TextDecoder(); // a character may lie across two chunks
    let text = "";
    for await (const chunk of stdin) {
      text += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  })();
  try {
    signal.throwIfAborted();
    return await Promise.race([reading, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
