/** kraken eval: how good a model is. */
import type { Command } from "commander";
import type { Context } from "../context.js";
import { addEvalPerplexity } from "./eval-perplexity.js";
import { addEvalSuperglue } from "./eval-superglue.js";

export function addEval(program: Command, context: Context): void {
  const command = program
    .command("eval")
    .description("how good a model is: perplexity of texts, SuperGLUE")
    .helpOption("-h, --help", "show help");
  addEvalPerplexity(command, context);
  addEvalSuperglue(command, context);
}
