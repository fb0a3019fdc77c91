/** The eight tasks, in SuperGLUE's order. */

import { ArgumentError } from "../../../errors.js";
import { closest } from "../../../options.js";
import type { Task } from "../task.js";
import { boolq } from "./boolq.js";
import { cb } from "./cb.js";
import { copa } from "./copa.js";
import { multirc } from "./multirc.js";
import { record } from "./record.js";
import { rte } from "./rte.js";
import { wic } from "./wic.js";
import { wsc } from "./wsc.js";

export const tasks: readonly Task[] = [boolq, cb, copa, multirc, record, rte, wic, wsc];
export const taskNames: readonly string[] = tasks.map(({ name }) => name);

/** @throws ArgumentError ERR_OPTION, with the name probably meant */
export function taskNamed(name: string): Task {
  const task = tasks.find((candidate) => candidate.name === name.toLowerCase());
  if (task) return task;
  const meant = closest(name, taskNames);
  throw new ArgumentError(
    "ERR_OPTION",
    `\`tasks\`: there is no task "${name}"; ${meant ? `did you mean ${meant}?` : `there are ${taskNames.join(", ")}`}`,
  );
}
