/** SuperGLUE's files: every way to be malformed is an error that names file, line and field. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { readTask } from "../../lib/eval/superglue/data.js";
import { PythonRandom } from "../../lib/eval/superglue/python-random.js";
import { taskNamed } from "../../lib/eval/superglue/tasks/index.js";

const fixtures = join(import.meta.dirname, "../fixtures/superglue");
const work = mkdtempSync(join(tmpdir(), "kraken-superglue-"));
after(() => rmSync(work, { recursive: true }));

type Fields = Record<string, unknown>;

/** The fixture's first row, changed, as line 2 of a file after the row as it was. */
async function withLine(name: string, line: string | ((row: Fields) => void)): Promise<unknown> {
  const task = taskNamed(name);
  const [first] = readFileSync(join(fixtures, task.directory, "val.jsonl"), "utf8").split("\n");
  let changed: string;
  if (typeof line === "string") changed = line;
  else {
    const row = JSON.parse(first!);
    line(row);
    changed = JSON.stringify(row);
  }
  mkdirSync(join(work, task.directory), { recursive: true });
  writeFileSync(join(work, task.directory, "val.jsonl"), `${first}\n${changed}\n`);
  return readTask(work, task, { shots: 0, seed: 0, limit: 1 }).catch((error) => error);
}

async function assertRefused(
  name: string,
  line: string | ((row: Fields) => void),
  message: RegExp,
): Promise<void> {
  const error = (await withLine(name, line)) as Error & { code?: string };
  assert.equal(error.code, "ERR_DATA", String(error));
  assert.match(error.message, /val\.jsonl:2: /);
  assert.match(error.message, message);
}

const at = (row: Fields, ...path: (string | number)[]) =>
  path.reduce((value, key) => (value as Fields)[key], row as unknown) as Fields;

describe("a line that is not what it should be", () => {
  test("no JSON, no object", async () => {
    await assertRefused("boolq", '{"question": "is', /not JSON/);
    await assertRefused("boolq", "[1]", /must be an object, got \[ 1 \]/);
  });

  const cases: [task: string, change: (row: Fields) => void, message: RegExp][] = [
    ["boolq", (row) => delete row.passage, /`passage` is missing/],
    ["boolq", (row) => delete row.label, /`label` is missing/],
    ["boolq", (row) => Object.assign(row, { label: 1 }), /`label` must be true or false, got 1/],
    ["boolq", (row) => Object.assign(row, { question: " " }), /`question` must be text, got ' '/],
    [
      "cb",
      (row) => Object.assign(row, { label: "yes" }),
      /`label` must be "entailment" or "contradiction" or "neutral"/,
    ],
    ["cb", (row) => Object.assign(row, { premise: 7 }), /`premise` must be text, got 7/],
    ["copa", (row) => Object.assign(row, { question: "reason" }), /`question` must be "cause" or "effect"/],
    ["copa", (row) => Object.assign(row, { label: 2 }), /`label` must be a whole number from 0 to 1, got 2/],
    ["copa", (row) => delete row.choice2, /`choice2` is missing/],
    ["multirc", (row) => Object.assign(row, { passage: [] }), /`passage` must be an object/],
    [
      "multirc",
      (row) => Object.assign(at(row, "passage"), { questions: [] }),
      /`passage\.questions` must be a list/,
    ],
    [
      "multirc",
      (row) => delete at(row, "passage", "questions", 1, "answers", 0).label,
      /`passage\.questions\[1\]\.answers\[0\]\.label` is missing/,
    ],
    [
      "record",
      (row) => Object.assign(at(row, "passage", "entities", 0), { end: 999 }),
      /`passage\.entities\[0\]\.end` must be a whole number from 14 to/,
    ],
    [
      "record",
      (row) => Object.assign(at(row, "qas", 0), { query: "no gap" }),
      /`qas\[0\]\.query` must be text with @placeholder/,
    ],
    [
      "record",
      (row) => Object.assign(at(row, "qas", 0), { answers: {} }),
      /`qas\[0\]\.answers` must be a list/,
    ],
    ["rte", (row) => delete row.hypothesis, /`hypothesis` is missing/],
    [
      "rte",
      (row) => Object.assign(row, { label: "neutral" }),
      /`label` must be "entailment" or "not_entailment"/,
    ],
    ["wic", (row) => Object.assign(row, { end1: 3 }), /`end1` must be a whole number from 15 to/],
    ["wic", (row) => Object.assign(row, { label: "true" }), /`label` must be true or false/],
    ["wsc", (row) => delete row.target, /`target` is missing/],
    [
      "wsc",
      (row) => Object.assign(at(row, "target"), { span2_index: 99 }),
      /`target\.span2_index` must be a whole number from 0 to 10/,
    ],
    ["wsc", (row) => delete at(row, "target").span1_text, /`target\.span1_text` is missing/],
  ];
  for (const [task, change, message] of cases) {
    test(`${task}: ${message.source.replaceAll("\\", "")}`, () => assertRefused(task, change, message));
  }
});

test("a file without rows, and one that is not there", async () => {
  mkdirSync(join(work, "RTE"), { recursive: true });
  writeFileSync(join(work, "RTE", "val.jsonl"), "\n\n");
  const options = { shots: 0, seed: 0, limit: undefined };
  await assert.rejects(readTask(work, taskNamed("rte"), options), {
    code: "ERR_DATA",
    message: /has no rows/,
  });
  await assert.rejects(readTask(join(work, "none"), taskNamed("rte"), options), {
    code: "ERR_IO",
    message: /none.RTE.val\.jsonl: no such file/,
  });
});

test("empty lines are no rows, and count", async () => {
  mkdirSync(join(work, "CB"), { recursive: true });
  const [first] = readFileSync(join(fixtures, "CB", "val.jsonl"), "utf8").split("\n");
  writeFileSync(join(work, "CB", "val.jsonl"), `${first}\r\n\n{}\n`);
  await assert.rejects(
    readTask(work, taskNamed("cb"), { shots: 0, seed: 0, limit: undefined }),
    /val\.jsonl:3: `premise`/,
  );
});

test("random.sample() of Python, from Python 3.11", () => {
  const random = new PythonRandom(1234);
  assert.deepEqual(random.sample(10, 3), [7, 1, 0]);
  assert.deepEqual(random.sample(1000, 4), [92, 932, 965, 961]);
  assert.deepEqual(random.sample(30, 6), [25, 18, 1, 21, 22, 2]);
  assert.deepEqual(random.sample(100, 6), [12, 98, 45, 30, 2, 3]);
  assert.deepEqual(new PythonRandom(0).sample(5, 5), [3, 4, 0, 1, 2]);
  assert.deepEqual(new PythonRandom(2 ** 40 + 5).sample(100_000, 3), [66110, 67753, 35206]);
});
