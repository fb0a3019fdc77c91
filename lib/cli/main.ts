#!/usr/bin/env node
/** The `kraken` command: gives the process to run() and ends with the exit code it returns. */
import { processContext } from "./context.js";
import { run } from "./program.js";

const context = processContext();
const code = await run(process.argv.slice(2), context);
await context.flush();
// Not process.exitCode: an interrupted load may still run on threads of its own, and stdin may still be open.
process.exit(code);
