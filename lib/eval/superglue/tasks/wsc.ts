/** Winograd Schema Challenge: does a pronoun stand for a noun? */
import { capitalized, length, slice, uncapitalized, words } from "../characters.js";
import { accuracyTask, choiceExample } from "../task.js";

export const wsc = accuracyTask("wsc", "WSC", (row) => {
  const text = row.text("text");
  const target = row.row("target");
  const all = words(text);
  const span = (n: 1 | 2) => {
    const index = target.integer(`span${n}_index`, 0, all.length);
    return { index, text: asInText(target.text(`span${n}_text`), text, all[index]!) };
  };
  const [noun, pronoun] = [span(1), span(2)];
  const before = all.slice(0, pronoun.index).join(" ");
  const after = slice(text, length(before) + length(pronoun.text) + 1);
  return choiceExample(
    `Passage: ${detokenized(`${before} *${pronoun.text}*${after}`)}\nQuestion: In the passage above, does the ` +
      `pronoun "*${pronoun.text}*" refer to "*${noun.text}*"?\nAnswer:`,
    ["no", "yes"],
    row.boolean("label") ? 1 : 0,
  );
});

/**
 * Some spans of the official files are not as they stand in the text. The harness takes the data set "wsc.fixed", which
 * corrects the case of the first word, full stops at the end and line breaks.
 */
function asInText(span: string, text: string, firstWord: string): string {
  if (text.includes(span)) return span;
  const lower = /^\p{Ll}/u.test(firstWord);
  const fixed = (lower ? uncapitalized(span) : capitalized(span)).replace(/\.+$/, "").replaceAll("\n", " ");
  return text.includes(fixed) ? fixed : span;
}

/** Closes the gaps that a tokenizer of words left: "did n't ( or so ) ." */
function detokenized(text: string): string {
  return text
    .replaceAll(" n't", "n't")
    .replaceAll(" )", ")")
    .replaceAll("( ", "(")
    .replaceAll('" ', '"')
    .replaceAll(' "', '"')
    .replaceAll(/ ([.',])/g, "$1");
}
