/** The documentation as a set: every page is in the index, every relative link and its anchor lead somewhere. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, test } from "node:test";

const root = join(import.meta.dirname, "..", "..");
const pages = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.md"], {
  cwd: root,
  encoding: "utf8",
})
  .trim()
  .split("\n")
  .filter((path) => existsSync(join(root, path)));

const text = (path: string) => readFileSync(join(root, path), "utf8");

/** As GitHub makes them: words in lower case with hyphens between. */
const anchorsOf = (markdown: string) =>
  new Set(
    [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s-]/gu, "")
        .trim()
        .replaceAll(" ", "-"),
    ),
  );

function brokenLinks(page: string): string[] {
  return [...text(page).matchAll(/\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)/g)].flatMap(
    ([, path, anchor]) => {
      const target = path ? join(root, dirname(page), path) : join(root, page);
      if (!existsSync(target)) return [`${page}: ${path} does not exist`];
      if (!anchor) return [];
      const file = statSync(target).isDirectory() ? join(target, "README.md") : target;
      const known = anchorsOf(text(relative(root, file)));
      return known.has(anchor) ? [] : [`${page}: ${path}#${anchor} is no heading`];
    },
  );
}

describe("documentation", () => {
  test("links lead somewhere", () => {
    assert.ok(pages.length > 10);
    assert.deepEqual(pages.flatMap(brokenLinks), []);
  });

  test("the index lists every page of docs/", () => {
    const index = text("docs/README.md");
    const names = readdirSync(join(root, "docs")).filter(
      (name) => name.endsWith(".md") && name !== "README.md",
    );
    assert.deepEqual(
      names.filter((name) => !index.includes(`](${name})`)),
      [],
    );
  });

  test("every npm script that is mentioned exists", () => {
    const { scripts } = JSON.parse(text("package.json")) as { scripts: Record<string, string> };
    const mentioned = pages.flatMap((page) =>
      [...text(page).matchAll(/npm run (?:-s )?([a-z][a-z:-]*)/g)].map(([, name]) => ({ page, name: name! })),
    );
    assert.ok(mentioned.length > 10);
    assert.deepEqual(
      mentioned.filter(({ name }) => !(name in scripts)),
      [],
    );
  });
});
