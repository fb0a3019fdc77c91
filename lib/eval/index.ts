/** Evaluations: how good a model is, measured through an engine. */
export * from "./perplexity.js";
