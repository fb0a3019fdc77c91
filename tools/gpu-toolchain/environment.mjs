/** What tells tests where the TensorRT libraries are. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { libraryPath, root } from "./places.mjs";

/** One variable for each library that is there. */
export function tensorrtEnvironment() {
  const present = ["10", "11", "rtx"].filter((major) => existsSync(libraryPath(major)));
  return Object.fromEntries(
    present.map((major) => [`KRAKEN_TENSORRT_${major.toUpperCase()}_LIBRARY`, libraryPath(major)]),
  );
}

/** What makes kraken-worker find the stand-ins for GPUs (test/tensorrt/stand_in), eight that reach each other's memory. */
export function standInEnvironment() {
  const standIn = join(root, "build", "test", "tensorrt", "stand_in");
  const libraries = [join(standIn, "driver"), join(standIn, "no_nccl"), dirname(libraryPath("10"))];
  return {
    ...tensorrtEnvironment(),
    KRAKEN_STAND_IN: standIn,
    KRAKEN_WORKER: join(standIn, "kraken-worker"),
    KRAKEN_SHIM_DEVICES: "8",
    KRAKEN_SHIM_SHARED: "1",
    // Of the real TensorRT, which networks are lowered into.
    TRT_INTERNAL_OPTIONS: "--cpu_only=1",
    LD_LIBRARY_PATH: [...libraries, process.env.LD_LIBRARY_PATH].filter(Boolean).join(":"),
  };
}
