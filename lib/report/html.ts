/** A report as one page of HTML: its style and its charts are in it, and nothing is loaded or run. */
import type { Block, Chart, Page, Table } from "./page.js";

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text: string): string => text.replaceAll(/[&<>"]/g, (character) => entities[character]!);

/** What charts refer to. Hues are those of Okabe and Ito, told apart by most who see colours otherwise. */
const light = `
  --page: #ffffff; --text: #1b1f24; --faint: #626b76; --line: #d8dde3; --shade: #f4f6f8;
  --standard: #7d8794; --parallel: #d55e00; --ladder: #009e73; --kraken: #0072b2;
  --part-1: #0072b2; --part-2: #009e73; --part-3: #e6a100; --part-4: #cc79a7; --part-5: #d55e00; --part-6: #b5bdc6;`;
const dark = `
  --page: #14181d; --text: #e3e7ec; --faint: #99a3af; --line: #333b45; --shade: #1d232a;
  --standard: #8b96a3; --parallel: #ee8a3c; --ladder: #3cbf97; --kraken: #4ba3dc;
  --part-1: #4ba3dc; --part-2: #3cbf97; --part-3: #f0c04a; --part-4: #d996bd; --part-5: #ee8a3c; --part-6: #5b6673;`;

const style = `
:root { color-scheme: light dark; ${light} }
@media screen and (prefers-color-scheme: dark) { :root { ${dark} } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px 20px 48px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 36px 0 8px; border-bottom: 1px solid var(--line); padding-bottom: 4px; }
p { margin: 8px 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 4px 8px; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
th.words, td.words { text-align: left; white-space: normal; }
tbody tr:nth-child(even) { background: var(--shade); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 350px), 1fr)); gap: 8px 32px; }
figure { margin: 12px 0; min-width: 0; break-inside: avoid; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--faint); font-size: 13px; }
figure h3 { font-size: 14px; margin: 0 0 4px; }
.legend span { display: inline-block; margin-right: 14px; white-space: nowrap; }
.legend i { display: inline-block; width: 10px; height: 10px; margin-right: 5px; border-radius: 2px; }
@media print {
  body { max-width: none; padding: 0; font-size: 10px; }
  h1 { font-size: 18px; } h2 { font-size: 13px; margin-top: 18px; } figure h3 { font-size: 11px; }
  figcaption { font-size: 9px; }
  table { font-size: 7px; } th, td { padding: 2px 3px; } .wide { overflow: visible; }
  h2 { break-after: avoid; } tr { break-inside: avoid; }
  .charts { grid-template-columns: 1fr 1fr; gap: 4px 24px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}`;

function table({ header, rows, caption, words = 0 }: Table): string {
  const cells = (row: readonly string[], tag: string) =>
    row
      .map((text, i) => {
        const kind = i >= row.length - words ? ' class="words"' : "";
        return `<${tag}${kind}>${escaped(text)}</${tag}>`;
      })
      .join("");
  const body = rows.map((row) => `<tr>${cells(row, "td")}</tr>`).join("\n");
  const after = caption ? `<p>${escaped(caption)}</p>` : "";
  return `<div class="wide"><table><thead><tr>${cells(header, "th")}</tr></thead>\n<tbody>${body}</tbody></table></div>${after}`;
}

function figure({ title, svg, caption, legend = [] }: Chart): string {
  const colors = legend.map(
    ({ label, color }) => `<span><i style="background:${escaped(color)}"></i>${escaped(label)}</span>`,
  );
  const key = colors.length > 0 ? `<div class="legend">${colors.join("")}</div>` : "";
  return `<figure><h3>${escaped(title)}</h3>${svg}<figcaption>${key}${escaped(caption)}</figcaption></figure>`;
}

function block(one: Exclude<Block, Chart>): string {
  switch (one.kind) {
    case "heading":
      return `<h2>${escaped(one.text)}</h2>`;
    case "text":
      return `<p>${escaped(one.text)}</p>`;
    case "list":
      return `<ul>${one.items.map((item) => `<li>${escaped(item)}</li>`).join("\n")}</ul>`;
    case "table":
      return table(one);
  }
}

/** Charts that follow each other share a row where there is room; a wide one has its own. */
function body(blocks: readonly Block[]): string {
  const parts: string[] = [];
  let row: string[] = [];
  const flush = () => {
    if (row.length > 0) parts.push(`<div class="charts">${row.join("\n")}</div>`);
    row = [];
  };
  for (const one of blocks) {
    if (one.kind === "chart" && !one.wide) row.push(figure(one));
    else {
      flush();
      parts.push(one.kind === "chart" ? figure(one) : block(one));
    }
  }
  flush();
  return parts.join("\n");
}

export function pageHtml({ title, blocks }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${style}
</style>
</head>
<body>
<h1>${escaped(title)}</h1>
${body(blocks)}
</body>
</html>
`;
}
