/** Word-in-Context: does a word mean the same in two sentences? */
import { length, slice } from "../characters.js";
import { accuracyTask, choiceExample } from "../task.js";

export const wic = accuracyTask("wic", "WiC", (row) => {
  const first = row.text("sentence1");
  const start = row.integer("start1", 0, length(first));
  const word = slice(first, start, row.integer("end1", start + 1, length(first) + 1));
  return choiceExample(
    `Sentence 1: ${first}\nSentence 2: ${row.text("sentence2")}\nQuestion: Is the word '${word}' used in the ` +
      "same way in the two sentences above?\nAnswer:",
    ["no", "yes"],
    row.boolean("label") ? 1 : 0,
  );
});
