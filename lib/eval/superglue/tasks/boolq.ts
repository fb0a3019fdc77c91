/** BoolQ: is the answer to a question about a passage yes? */
import { accuracyTask, choiceExample } from "../task.js";

export const boolq = accuracyTask("boolq", "BoolQ", (row) =>
  choiceExample(
    `${row.text("passage")}\nQuestion: ${row.text("question")}?\nAnswer:`,
    ["no", "yes"],
    row.boolean("label") ? 1 : 0,
  ),
);
