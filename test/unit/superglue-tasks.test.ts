/** Each SuperGLUE task: the text it asks about, and what picks made by hand come to. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { readTask, type TaskData } from "../../lib/eval/superglue/data.js";
import { f1Metric, type Metric } from "../../lib/eval/superglue/metrics.js";
import { promptOf } from "../../lib/eval/superglue/prompt.js";
import { taskNamed } from "../../lib/eval/superglue/tasks/index.js";

const directory = join(import.meta.dirname, "../fixtures/superglue");

const read = (name: string, shots = 0): Promise<TaskData> =>
  readTask(directory, taskNamed(name), { shots, seed: 1234, limit: undefined });

/** The task's metrics when these choices were the likeliest, one for each example. */
function measure({ task, examples }: TaskData, picks: readonly number[]): Record<string, Metric> {
  assert.equal(examples.length, picks.length);
  return task.metrics(examples.map((example, i) => ({ example, picked: picks[i]! })));
}

function assertMetric({ value, stderr }: Metric, expected: number, expectedStderr?: number): void {
  assert.ok(Math.abs(value - expected) < 1e-12, `${value}, expected ${expected}`);
  if (expectedStderr === undefined) return;
  assert.ok(Math.abs(stderr - expectedStderr) < 1e-12, `± ${stderr}, expected ${expectedStderr}`);
}

describe("prompts and choices, as LM Evaluation Harness 0.4.12 makes them of the same rows", () => {
  const expected: Record<string, [context: string, ...choices: string[]]> = {
    boolq: [
      "The harbour was dug in 1802. The lighthouse on the cape had then stood for forty years.\n" +
        "Question: is the lighthouse older than the harbour?\nAnswer:",
      "no",
      "yes",
    ],
    cb: [
      "Nobody doubted that the baker had left at dawn.\nQuestion: the baker had left at dawn. True, False, or Neither?\nAnswer:",
      "True",
      "False",
      "Neither",
    ],
    copa: ["The milk boiled over because", " the cook had left the kitchen.", " the cat was asleep."],
    multirc: [
      "Ada keeps goats and hens. Her brother Ben keeps nothing but a diary.\nQuestion: What does Ada keep?\nAnswer:",
      "Goats\nIs the answer correct? yes",
      "Goats\nIs the answer correct? no",
    ],
    record: [
      "The painter 🎨 Mira Holt opened a school in Tarn Valley. Old Tarn is its only pupil.\n\n" +
        "  - A school opens.\n  - Mira Holt teaches painting.\n",
      "  - The school in Mira Holt has one pupil",
      "  - The school in Old Tarn has one pupil",
      "  - The school in Tarn Valley has one pupil",
    ],
    rte: [
      "The museum in Oban reopened on Sunday after two years.\nQuestion: The museum was closed. True or False?\nAnswer:",
      "True",
      "False",
    ],
    wic: [
      "Sentence 1: We sat on the bank of the river.\nSentence 2: The bank closes at four.\n" +
        "Question: Is the word 'bank' used in the same way in the two sentences above?\nAnswer:",
      "no",
      "yes",
    ],
    wsc: [
      "Passage: The trophy was wrapped in the cloth because *it* was fragile.\n" +
        'Question: In the passage above, does the pronoun "*it*" refer to "*trophy*"?\nAnswer:',
      "no",
      "yes",
    ],
  };
  for (const [name, [context, ...choices]] of Object.entries(expected)) {
    test(name, async () => {
      const [example] = (await read(name)).examples;
      assert.equal(example!.context, context);
      assert.deepEqual(example!.choices, choices);
    });
  }

  test("copa: the second connector", async () => {
    assert.equal((await read("copa")).examples[1]!.context, "The wind tore the sail therefore");
  });

  test("record: the placeholder is filled in wherever it stands", async () => {
    const { choices } = (await read("record")).examples[1]!;
    assert.equal(choices[0], "  - Pupils like Mira Holt, the teacher; Mira Holt paints");
  });

  test("wic: the word as it stands, at an offset of code points", async () => {
    assert.match((await read("wic")).examples[1]!.context, /the word 'carried' used/);
  });

  test("wsc: gaps are closed, and spans are as in the text", async () => {
    const [, second, third] = (await read("wsc")).examples;
    assert.match(
      second!.context,
      /^Passage: Jane didn't thank Ruth \(her aunt\) because \*she\* was shy\.\n.*"\*she\*" refer to "\*Ruth\*"/,
    );
    assert.match(third!.context, /refer to "\*My father\*"/);
  });
});

describe("shots", () => {
  test("the harness's draw for the same seed, each with its answer", async () => {
    const data = await read("boolq", 2);
    assert.equal(
      promptOf(data.shotsOf(0), data.examples[0]!),
      "The old bridge was built of oak.\nQuestion: was the bridge built of stone?\nAnswer: no\n\n" +
        "Tea is grown on the hill; rice is grown below it.\nQuestion: is the tea grown on the hill?\nAnswer: yes\n\n" +
        data.examples[0]!.context,
    );
    assert.notDeepEqual(data.shotsOf(1), data.shotsOf(0));
  });

  test("multirc: a correct answer is shown as one", async () => {
    const data = await read("multirc", 2);
    const shown = data.shotsOf(0).map(({ target }) => target);
    assert.deepEqual(shown, ["Both\nIs the answer correct? no", "Two\nIs the answer correct? yes"]);
  });

  test("record: the first answer is filled in", async () => {
    const data = await read("record", 1);
    const targets = data.examples.map((_, i) => data.shotsOf(i)[0]!.target);
    const possible = [
      "  - The people of Skye waved",
      "  - Nobody had told Captain Orr",
      "  - It rained in Wick",
    ];
    for (const target of targets) assert.ok(possible.includes(target), target);
  });

  test("more than there are", async () => {
    await assert.rejects(read("cb", 3), { code: "ERR_OPTION", message: /CB.train\.jsonl has 3/ });
  });
});

describe("scores", () => {
  test("boolq: two of three right", async () => {
    // 1, 1, 0: variance 1/3, over 3 examples.
    assertMetric(measure(await read("boolq"), [1, 1, 0]).acc!, 2 / 3, 1 / 3);
  });

  test("cb: the mean F1 of three classes", async () => {
    // Truth 0 1 2 0, picked 0 1 1 0: F1 is 1, 2/3 and 0.
    const { acc, f1 } = measure(await read("cb"), [0, 1, 1, 0]);
    assertMetric(acc!, 3 / 4, 1 / 4);
    assertMetric(f1!, (1 + 2 / 3) / 3);
    assert.ok(f1!.stderr > 0.1 && f1!.stderr < 0.3);
  });

  test("copa, rte, wic, wsc: accuracy", async () => {
    assertMetric(measure(await read("copa"), [0, 0]).acc!, 1 / 2, 1 / 2);
    assertMetric(measure(await read("rte"), [0, 1, 0]).acc!, 1, 0);
    assertMetric(measure(await read("wic"), [1, 0]).acc!, 0, 0);
    assertMetric(measure(await read("wsc"), [1, 0, 1]).acc!, 2 / 3, 1 / 3);
  });

  test("multirc: answers, questions, and F1 of the answers that are correct", async () => {
    // Truth: yes yes no | yes no | no yes. Picked: yes no no | yes no | yes yes.
    const { acc, f1, em } = measure(await read("multirc"), [0, 1, 1, 0, 1, 0, 0]);
    assertMetric(acc!, 5 / 7, Math.sqrt(10 / 7 / 6 / 7));
    assertMetric(f1!, (2 * 3) / (2 * 3 + 1 + 1));
    assertMetric(em!, 1 / 3, 1 / 3);
  });

  test("record: the answer most like the pick, by words without articles, case and punctuation", async () => {
    // "Old Tarn" for "Tarn Valley" shares one word of two; "Mira Holt" is right; "The Rovers" is one of two answers.
    const { f1, em } = measure(await read("record"), [1, 0, 2]);
    assertMetric(f1!, (1 / 2 + 1 + 1) / 3, Math.sqrt(1 / 12 / 3));
    assertMetric(em!, 2 / 3, 1 / 3);
  });

  test("the bootstrap of an F1", () => {
    const hit = [{ truePositives: 1, errors: 0 }];
    const miss = [{ truePositives: 0, errors: 1 }];
    const { value, stderr } = f1Metric([hit, miss]);
    assert.equal(value, 2 / 3);
    // Drawn twice: hits only (1 of 4 ways) is 1, both (2 of 4) is 2/3, misses only is 0.
    const variance = 1 / 4 + (2 / 3) ** 2 / 2 - (1 / 4 + 2 / 3 / 2) ** 2;
    assert.ok(Math.abs(stderr / Math.sqrt(variance) - 1) < 0.02, `${stderr}`);
  });

  test("a single example has no standard error", async () => {
    const data = await read("boolq");
    const { acc } = measure({ ...data, examples: data.examples.slice(0, 1) }, [1]);
    assert.deepEqual(acc, { value: 1, stderr: Number.NaN });
  });
});
