/** Reads a task's files, whole, so that a bad line is found before anything is scored. */
import { join } from "node:path";
import { ArgumentError } from "../../errors.js";
import { sha256OfFiles } from "../../file-hash.js";
import type { Shot } from "./prompt.js";
import { PythonRandom } from "./python-random.js";
import { readRows } from "./rows.js";
import type { Example, Task } from "./task.js";

export interface TaskData {
  task: Task;
  examples: Example[];
  /** Those shown before example i. */
  shotsOf(i: number): Shot[];
  /** Of its files. */
  checksum: string;
}

export interface DataOptions {
  shots: number;
  seed: number;
  /** Only the first so many examples; undefined: all. */
  limit: number | undefined;
}

/**
 * Examples of `<directory>/<task>/val.jsonl`, and with shots those of `train.jsonl` beside it.
 * @throws ArgumentError ERR_DATA (with file and line), ERR_OPTION (fewer examples to show than asked for); RuntimeError
 *   ERR_IO
 */
export async function readTask(directory: string, task: Task, options: DataOptions): Promise<TaskData> {
  const { shots, seed, limit } = options;
  const fileOf = (name: string) => join(directory, task.directory, name);
  const examples = (await readRows(fileOf("val.jsonl"))).flatMap((row) => task.examples(row)).slice(0, limit);
  const train: Shot[] = [];
  if (shots > 0) {
    for (const row of await readRows(fileOf("train.jsonl"))) train.push(...task.examples(row).map(shotOf));
  }
  // The harness draws one more than it shows, in case one is the example itself.
  if (shots > 0 && train.length <= shots) {
    throw new ArgumentError(
      "ERR_OPTION",
      `\`shots\` ${shots} needs more than ${shots} examples: ${fileOf("train.jsonl")} has ${train.length}`,
    );
  }
  const random = new PythonRandom(seed);
  const shown = examples.map(() =>
    shots === 0 ? [] : random.sample(train.length, shots + 1).slice(0, shots),
  );
  const shotsOf = (i: number) => shown[i]!.map((index) => train[index]!);
  const checksums = await sha256OfFiles(["val.jsonl", ...(shots > 0 ? ["train.jsonl"] : [])].map(fileOf));
  return { task, examples, shotsOf, checksum: checksums.join(" ") };
}

/** The choices of examples that are only shown are not kept. */
const shotOf = ({ context, target }: Example): Shot => ({ context, target });
