/** RTE: does the premise entail the hypothesis? */
import { accuracyTask, choiceExample } from "../task.js";

export const rte = accuracyTask("rte", "RTE", (row) =>
  choiceExample(
    `${row.text("premise")}\nQuestion: ${row.text("hypothesis")} True or False?\nAnswer:`,
    ["True", "False"],
    row.oneOf("label", ["entailment", "not_entailment"]),
  ),
);
