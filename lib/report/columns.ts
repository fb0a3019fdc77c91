/** Tables of many columns: for a terminal, and as Markdown. */

/** Cells of a row; a first column of words, then numbers. */
export type Row = readonly string[];

/** Right-aligned but for the first and the last `words` columns. */
export function columns(header: Row, rows: readonly Row[], words = 0): string {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  const line = (row: Row) =>
    row
      .map((text, i) =>
        i === 0 || i >= header.length - words ? text.padEnd(widths[i]!) : text.padStart(widths[i]!),
      )
      .join("  ")
      .trimEnd();
  return [header, ...rows].map((row) => `${line(row)}\n`).join("");
}

/** Numbers to the right, but for the first and the last `words` columns. */
export function markdownTable(header: Row, rows: readonly Row[], words = 0): string {
  const line = (row: Row) => `| ${row.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |\n`;
  const rule = header.map((_, i) => (i === 0 || i >= header.length - words ? "---" : "--:"));
  return [header, rule, ...rows].map(line).join("");
}
