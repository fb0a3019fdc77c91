/** Copies what tsc does not: the page's files, from lib/ to the same place in dist/. */
import { cpSync } from "node:fs";

const page = (root) => new URL(`../${root}/server/page/`, import.meta.url);
cpSync(page("lib"), page("dist"), { recursive: true });
