/** What a SuperGLUE task is: rows become examples with choices, and picks become metrics. */
import { type Metric, meanMetric } from "./metrics.js";
import type { Row } from "./rows.js";

export interface Example {
  /** The prompt, without examples before it. */
  context: string;
  /** What may follow the prompt, after a space. */
  choices: readonly string[];
  /** What follows it where it is an example for others. */
  target: string;
}

/** One of the choices is right. */
export interface ChoiceExample extends Example {
  /** Index of the right one. */
  gold: number;
}

/** An example, and the index of the choice that was likeliest. */
export interface Judged<E> {
  example: E;
  picked: number;
}

export interface Task<E extends Example = Example> {
  name: string;
  /** The official archive's name of its directory. */
  directory: string;
  /** @throws ArgumentError ERR_DATA */
  examples(row: Row): E[];
  /** By the harness's names. */
  metrics(judged: readonly Judged<E>[]): Record<string, Metric>;
}

/** An example whose target is its right choice. */
export function choiceExample(context: string, choices: readonly string[], gold: number): ChoiceExample {
  return { context, choices, gold, target: choices[gold]! };
}

const correct = ({ example, picked }: Judged<ChoiceExample>): number => (picked === example.gold ? 1 : 0);

export const accuracy = (judged: readonly Judged<ChoiceExample>[]): Metric => meanMetric(judged.map(correct));

/** Most tasks: one example a row, of which the accuracy is measured. */
export function accuracyTask(
  name: string,
  directory: string,
  example: (row: Row) => ChoiceExample,
): Task<ChoiceExample> {
  return {
    name,
    directory,
    examples: (row) => [example(row)],
    metrics: (judged) => ({ acc: accuracy(judged) }),
  };
}
