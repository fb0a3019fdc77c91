/** COPA: which of two sentences is the cause, or the effect, of another? */
import { slice, uncapitalized } from "../characters.js";
import { accuracyTask, choiceExample } from "../task.js";

const connectors = ["because", "therefore"];

export const copa = accuracyTask("copa", "COPA", (row) => {
  const connector = connectors[row.oneOf("question", ["cause", "effect"])]!;
  const premise = slice(row.text("premise").trim(), 0, -1); // without its full stop
  return choiceExample(
    `${premise} ${connector}`,
    // The harness puts a space before each choice, and another after the context: there are two.
    ["choice1", "choice2"].map((key) => ` ${uncapitalized(row.text(key))}`),
    row.integer("label", 0, 2),
  );
});
