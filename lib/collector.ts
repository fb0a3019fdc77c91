/** Waits for the rows that score() and logits() ask for, in however many pieces they come. */
import { RuntimeError } from "./errors.js";
import type { NativeRequest, NativeResponse } from "./native.js";
import type { Consumer, RequestTable } from "./requests.js";

export interface Piece {
  firstRow: number;
  values: Float32Array;
}

class Collector implements Consumer {
  readonly pieces: Piece[] = [];

  constructor(
    readonly resolve: (pieces: Piece[]) => void,
    readonly reject: (error: unknown) => void,
    /** Kept reachable until the end. */
    readonly owner: object,
  ) {}

  receive(response: NativeResponse): void {
    if (response.values) this.pieces.push({ firstRow: response.firstRow ?? 0, values: response.values });
    if (response.finish === "cancelled")
      this.reject(new RuntimeError("ERR_DISPOSED", "the engine was disposed"));
    else if (response.finish !== "") this.resolve(this.pieces);
  }
}

/** Submits the request and resolves with its pieces in order; abort rejects with the signal's reason. */
export async function collect(
  table: RequestTable,
  request: NativeRequest,
  signal: AbortSignal | undefined,
  owner: object,
): Promise<Piece[]> {
  signal?.throwIfAborted();
  let abort: (() => void) | undefined;
  try {
    return await new Promise<Piece[]>((resolve, reject) => {
      const id = table.submit(request, new Collector(resolve, reject, owner));
      abort = () => {
        table.cancel(id);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort);
    });
  } finally {
    if (abort) signal?.removeEventListener("abort", abort);
  }
}

/** Most floats copied before the event loop gets its turn: 4 MiB, well under a millisecond or two. */
const copyAtOnce = 1 << 20;

/** Puts the pieces, whose rows are `width` wide, into one array. */
export async function assemble(pieces: readonly Piece[], rows: number, width: number): Promise<Float32Array> {
  const first = pieces[0];
  if (pieces.length === 1 && first?.values.length === rows * width) return first.values;
  const data = new Float32Array(rows * width);
  for (const { firstRow, values } of pieces) {
    for (let at = 0; at < values.length; at += copyAtOnce) {
      data.set(values.subarray(at, at + copyAtOnce), firstRow * width + at);
      await new Promise(setImmediate);
    }
  }
  return data;
}
