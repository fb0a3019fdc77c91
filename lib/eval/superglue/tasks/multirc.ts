/** MultiRC: is an answer to a question about a paragraph correct? Any number of a question's answers may be. */
import { confusion, f1Metric, meanMetric } from "../metrics.js";
import { accuracy, type ChoiceExample, choiceExample, type Judged, type Task } from "../task.js";

const yes = 0;
const no = 1;

interface AnswerExample extends ChoiceExample {
  /** Answers of one question share it. */
  question: object;
}

export const multirc: Task<AnswerExample> = {
  name: "multirc",
  directory: "MultiRC",
  examples(row) {
    const passage = row.row("passage");
    const paragraph = passage.text("text");
    return passage.rows("questions").flatMap((question) => {
      const context = `${paragraph}\nQuestion: ${question.text("question")}\nAnswer:`;
      return question.rows("answers").map((answer) => {
        const asked = `${answer.text("text")}\nIs the answer correct?`;
        const gold = answer.integer("label", 0, 2) === 1 ? yes : no;
        return { ...choiceExample(context, [`${asked} yes`, `${asked} no`], gold), question };
      });
    });
  },
  metrics(judged) {
    const questions = byQuestion(judged);
    return {
      acc: accuracy(judged),
      /** Over all answers; answers of a question are drawn together. */
      f1: f1Metric(questions.map((answers) => [total(answers)])),
      /** Share of the questions all of whose answers are judged right. */
      em: meanMetric(
        questions.map((answers) => (answers.every(({ example, picked }) => picked === example.gold) ? 1 : 0)),
      ),
    };
  },
};

function byQuestion(judged: readonly Judged<AnswerExample>[]): Judged<AnswerExample>[][] {
  const questions = new Map<object, Judged<AnswerExample>[]>();
  for (const one of judged) {
    const answers = questions.get(one.example.question);
    if (answers) answers.push(one);
    else questions.set(one.example.question, [one]);
  }
  return [...questions.values()];
}

function total(answers: readonly Judged<AnswerExample>[]) {
  const each = answers.map(({ example, picked }) => confusion(example.gold === yes, picked === yes));
  return {
    truePositives: each.reduce((sum, { truePositives }) => sum + truePositives, 0),
    errors: each.reduce((sum, { errors }) => sum + errors, 0),
  };
}
