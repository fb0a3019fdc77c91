/** SuperGLUE through an engine: every choice is scored by the log-probability of its text, and the likeliest is picked. */
import { ArgumentError } from "../../errors.js";
import { integerOption } from "../../options.js";
import { forEachConcurrently, Limiter, sharedSignal } from "../concurrency.js";
import { engineIdentity, fingerprint } from "../engine-identity.js";
import { Journal } from "../journal.js";
import type { EvalProgress, Scorer } from "../perplexity.js";
import { readTask, type TaskData } from "./data.js";
import type { Metric } from "./metrics.js";
import { choiceTokens, promptOf } from "./prompt.js";
import type { Judged } from "./task.js";
import { taskNamed, taskNames } from "./tasks/index.js";

export interface SuperglueOptions {
  /** Default: all eight. */
  tasks?: readonly string[] | undefined;
  /** Examples with their answers before each prompt. Default 0. */
  shots?: number | undefined;
  /** Of the draw of those examples. Default 1234, the harness's. */
  seed?: number | undefined;
  /** Only the first so many examples of each task. */
  limit?: number | undefined;
  /** Requests under way at a time. Default 16. */
  concurrency?: number | undefined;
  /** A file that keeps what is done, so that a killed run goes on. Whoever has the result safe removes it. */
  journal?: string | undefined;
  signal?: AbortSignal | undefined;
  /** In characters of prompts. */
  onProgress?: ((progress: EvalProgress & { task: string }) => void) | undefined;
}

export interface TaskReport {
  task: string;
  examples: number;
  /** Examples whose prompt was longer than the engine takes, and lost its beginning. */
  cut: number;
  /** By name: acc, f1, em. */
  metrics: Record<string, Metric>;
}

export interface SuperglueReport {
  shots: number;
  /** null without shots. */
  seed: number | null;
  tasks: TaskReport[];
}

/** Log-likelihood of each choice. */
interface Verdict {
  choices: number[];
  cut: boolean;
}

interface Item {
  data: TaskData;
  index: number;
  key: string;
}

/**
 * @param directory the official layout: `<directory>/BoolQ/val.jsonl`, with shots also `train.jsonl`
 * @throws ArgumentError ERR_OPTION, ERR_NO_TOKENIZER, ERR_DATA (with file and line) before anything is scored;
 *   ERR_CONTEXT_LENGTH for a choice that does not fit; RuntimeError ERR_IO; what Engine.score() throws
 */
export async function evaluateSuperglue(
  engine: Scorer,
  directory: string,
  options: SuperglueOptions = {},
): Promise<SuperglueReport> {
  const shots = integerOption("shots", options.shots, { min: 0, max: 1000, fallback: 0 });
  const seed = integerOption("seed", options.seed, { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 1234 });
  const limit =
    options.limit === undefined ? undefined : integerOption("limit", options.limit, { min: 1, fallback: 1 });
  const concurrency = integerOption("concurrency", options.concurrency, { min: 1, fallback: 16 });
  if (!engine.tokenizer) {
    throw new ArgumentError("ERR_NO_TOKENIZER", "the engine has no tokenizer, and SuperGLUE is text");
  }
  const tasks = [...new Set((options.tasks ?? taskNames).map(taskNamed))];
  if (tasks.length === 0) throw new ArgumentError("ERR_OPTION", "`tasks` must name at least one task");
  const all: TaskData[] = [];
  for (const task of tasks) all.push(await readTask(directory, task, { shots, seed, limit }));

  const identity = {
    what: "superglue",
    engine: engineIdentity(engine.manifest),
    "longest sequence": engine.maxSequenceLength,
    tasks: tasks.map(({ name }) => name).join(" "),
    examples: fingerprint(all.map(({ checksum }) => checksum).join("\n")),
    shots,
    seed: shots === 0 ? null : seed,
    limit: limit ?? null,
  };
  const journal = await Journal.open(options.journal, identity, verdictOf);
  const verdicts = await judge(engine, all, journal, { ...options, concurrency });
  return {
    shots,
    seed: identity.seed,
    tasks: all.map((data) => reportOf(data, verdicts)),
  };
}

const keyOf = (data: TaskData, index: number) => `${data.task.name}.${index}`;

function verdictOf(value: unknown): Verdict | undefined {
  const { choices, cut } = (value ?? {}) as Partial<Verdict>;
  const valid =
    Array.isArray(choices) && choices.every((x) => typeof x === "number") && typeof cut === "boolean";
  return valid ? { choices, cut } : undefined;
}

/** Scores the choices of every example that the journal does not know. */
async function judge(
  engine: Scorer,
  all: readonly TaskData[],
  journal: Journal<Verdict>,
  { concurrency, onProgress, signal: given }: SuperglueOptions & { concurrency: number },
): Promise<Map<string, Verdict>> {
  const signal = sharedSignal(given);
  const items = all.flatMap((data) =>
    data.examples.map((_, index): Item => ({ data, index, key: keyOf(data, index) })),
  );
  const open = items.filter(({ key }) => !journal.earlier.has(key));
  const work = (list: readonly Item[]) => list.reduce((sum, item) => sum + charactersOf(item), 0);
  const total = work(items);
  const earlier = total - work(open);
  let done = earlier;
  const verdicts = new Map(journal.earlier);
  const limiter = new Limiter(concurrency);
  await forEachConcurrently(open, concurrency, async (item) => {
    const { data, index, key } = item;
    onProgress?.({ done, total, earlier, task: data.task.name });
    const example = data.examples[index]!;
    const requests = choiceTokens(
      engine.tokenizer!,
      promptOf(data.shotsOf(index), example),
      example.choices,
      engine.maxSequenceLength,
    );
    const choices = await Promise.all(
      requests.map(({ tokens, scored }) =>
        limiter.run(async () => {
          const { logprobs } = await engine.score(tokens, { signal });
          let sum = 0;
          for (let i = tokens.length - scored; i < tokens.length; i++) sum += logprobs[i]!;
          return sum;
        }),
      ),
    );
    const verdict = { choices, cut: requests.some(({ cut }) => cut) };
    verdicts.set(key, verdict);
    await journal.add(key, verdict);
    done += charactersOf(item);
    onProgress?.({ done, total, earlier, task: data.task.name });
  });
  return verdicts;
}

/** What an example costs: about the length of its prompts. */
function charactersOf({ data, index }: Item): number {
  const { context, choices } = data.examples[index]!;
  const before = data.shotsOf(index).reduce((sum, shot) => sum + shot.context.length + shot.target.length, 0);
  return choices.reduce((sum, choice) => sum + before + context.length + choice.length, 0);
}

function reportOf(data: TaskData, verdicts: ReadonlyMap<string, Verdict>): TaskReport {
  const { task, examples } = data;
  const found = examples.map((_, index) => verdicts.get(keyOf(data, index))!);
  const judged: Judged<(typeof examples)[number]>[] = examples.map((example, index) => ({
    example,
    picked: likeliest(found[index]!.choices),
  }));
  return {
    task: task.name,
    examples: examples.length,
    cut: found.filter(({ cut }) => cut).length,
    metrics: task.metrics(judged),
  };
}

/** Index of the largest, the first of equals. */
const likeliest = (values: readonly number[]): number => values.indexOf(Math.max(...values));
