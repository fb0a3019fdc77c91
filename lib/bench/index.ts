/** The benchmarks: what is timed side by side, how, and what the samples say. */
export * from "./analysis.js";
export * from "./compare.js";
export * from "./document.js";
export * from "./findings.js";
export * from "./grid.js";
export * from "./options.js";
export * from "./resume.js";
export * from "./run.js";
export * from "./throughput.js";
export * from "./throughput-record.js";
