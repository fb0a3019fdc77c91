/** kraken bench: measurements, one subcommand each. */
import type { Command } from "commander";
import type { Context } from "../context.js";
import { addBenchCompare } from "./bench-compare.js";
import { addBenchGrid } from "./bench-grid.js";
import { addBenchThroughput } from "./bench-throughput.js";

export function addBench(program: Command, context: Context): void {
  const command = program
    .command("bench")
    .description("measure: time to first token of several architectures, decoding, serving")
    .helpOption("-h, --help", "show help");
  addBenchGrid(command, context, "prefill");
  addBenchGrid(command, context, "decode");
  addBenchThroughput(command, context);
  addBenchCompare(command, context);
}
