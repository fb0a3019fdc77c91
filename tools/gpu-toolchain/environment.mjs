/** What tells tests where the TensorRT libraries are. */
import { existsSync } from "node:fs";
import { libraryPath } from "./places.mjs";

/** One variable for each library that is there. */
export function tensorrtEnvironment() {
  const present = ["10", "11", "rtx"].filter((major) => existsSync(libraryPath(major)));
  return Object.fromEntries(
    present.map((major) => [`KRAKEN_TENSORRT_${major.toUpperCase()}_LIBRARY`, libraryPath(major)]),
  );
}
