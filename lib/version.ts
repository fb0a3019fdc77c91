/** The package's version, from its package.json (one level above lib/ and dist/ alike). */
import { createRequire } from "node:module";

export const version: string = (createRequire(import.meta.url)("../package.json") as { version: string })
  .version;
