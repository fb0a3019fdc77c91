/** The planner: what a first token takes on hardware that is not here, and which model to train for it. */
export * from "./break-even.js";
export * from "./calibrate.js";
export * from "./cost-model.js";
export * from "./design.js";
export * from "./grid.js";
export * from "./hardware.js";
export * from "./hardware-file.js";
export * from "./measured.js";
export * from "./shapes.js";
export * from "./units.js";
