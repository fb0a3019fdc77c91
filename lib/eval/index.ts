/** Evaluations: how good a model is, measured through an engine. */
export * from "./perplexity.js";
export * from "./superglue/evaluate.js";
export { taskNames } from "./superglue/tasks/index.js";
