/** CommitmentBank: does the premise entail the hypothesis, contradict it, or neither? */
import { confusion, f1Metric } from "../metrics.js";
import { accuracy, type ChoiceExample, choiceExample, type Task } from "../task.js";

const labels = ["entailment", "contradiction", "neutral"];

export const cb: Task<ChoiceExample> = {
  name: "cb",
  directory: "CB",
  examples: (row) => [
    choiceExample(
      `${row.text("premise")}\nQuestion: ${row.text("hypothesis")}. True, False, or Neither?\nAnswer:`,
      ["True", "False", "Neither"],
      row.oneOf("label", labels),
    ),
  ],
  metrics: (judged) => ({
    acc: accuracy(judged),
    /** Unweighted mean over the three classes. */
    f1: f1Metric(
      judged.map(({ example, picked }) => labels.map((_, i) => confusion(example.gold === i, picked === i))),
    ),
  }),
};
