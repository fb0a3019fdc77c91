/** ReCoRD: which entity of a passage fits the placeholder of a query? */
import { length, slice } from "../characters.js";
import { meanMetric } from "../metrics.js";
import type { Row } from "../rows.js";
import type { Example, Judged, Task } from "../task.js";

interface EntityExample extends Example {
  /** The choices are the query with each of them filled in. */
  entities: readonly string[];
  /** Every one of them is right. */
  answers: readonly string[];
}

const placeholder = "@placeholder";

/** Each once, in order. */
const sorted = (texts: readonly string[]): string[] => [...new Set(texts)].sort();

/** The passage, then its highlights as a list. */
function contextOf(passage: string): string {
  const [story, ...highlights] = passage.trim().split("\n@highlight\n");
  return `${story}\n\n${highlights.map((highlight) => `  - ${highlight}.\n`).join("")}`;
}

function entitiesOf(passage: Row): string[] {
  const text = passage.text("text");
  const end = length(text);
  return sorted(
    passage.rows("entities").map((entity) => {
      const start = entity.integer("start", 0, end);
      return slice(text, start, entity.integer("end", start, end) + 1); // the end is the last character
    }),
  );
}

export const record: Task<EntityExample> = {
  name: "record",
  directory: "ReCoRD",
  examples(row) {
    const passage = row.row("passage");
    const context = contextOf(passage.text("text"));
    const entities = entitiesOf(passage);
    return row.rows("qas").map((question) => {
      const query = question.text("query");
      if (!query.includes(placeholder)) question.fail("query", `text with ${placeholder} in it`);
      const answers = sorted(question.rows("answers").map((answer) => answer.text("text")));
      const filled = (entity: string) => `  - ${query.replaceAll(placeholder, () => entity)}`;
      return { context, choices: entities.map(filled), target: filled(answers[0]!), entities, answers };
    });
  },
  metrics: (judged) => ({
    f1: meanMetric(judged.map((one) => best(one, tokenF1))),
    em: meanMetric(judged.map((one) => best(one, exactMatch))),
  }),
};

/** Against the answer that it is most like. */
function best(
  { example, picked }: Judged<EntityExample>,
  score: (a: string[], b: string[]) => number,
): number {
  const entity = squadWords(example.entities[picked]!);
  return Math.max(...example.answers.map((answer) => score(entity, squadWords(answer))));
}

/** SQuAD's idea of the words of an answer: no case, no punctuation, no articles. */
function squadWords(text: string): string[] {
  const plain = text.toLowerCase().replaceAll(/[!-/:-@[-`{-~]/g, "");
  return plain
    .replaceAll(/(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu, " ")
    .split(/\s+/)
    .filter(Boolean);
}

const exactMatch = (a: string[], b: string[]): number => (a.join(" ") === b.join(" ") ? 1 : 0);

/** Of the words in common, each as often as both have it. */
function tokenF1(a: string[], b: string[]): number {
  if (a.length === 0 || b.length === 0) return exactMatch(a, b);
  const left = [...b];
  let common = 0;
  for (const word of a) {
    const at = left.indexOf(word);
    if (at < 0) continue;
    left.splice(at, 1);
    common++;
  }
  return (2 * common) / (a.length + b.length);
}
