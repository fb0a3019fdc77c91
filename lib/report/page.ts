/** A report made of headings, paragraphs, tables and charts: for a terminal, as Markdown and as HTML. */
import { columns, markdownTable, type Row } from "./columns.js";

export interface Table {
  kind: "table";
  header: Row;
  rows: readonly Row[];
  /** Columns that a terminal has room for; default: all. */
  brief?: readonly number[];
  /** How many of the last columns hold words instead of numbers. */
  words?: number;
  caption?: string;
}

export interface Chart {
  kind: "chart";
  title: string;
  svg: string;
  caption: string;
  /** A line of its own, where others share one. */
  wide?: boolean;
  legend?: readonly { label: string; color: string }[];
}

export type Block =
  | { kind: "heading"; text: string }
  | { kind: "text"; text: string }
  | { kind: "list"; items: readonly string[] }
  | Table
  | Chart;

export interface Page {
  title: string;
  blocks: readonly Block[];
}

/** Words on lines of at most `width` characters. */
export function wrapped(text: string, width: number, indent = ""): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].map((one) => `${indent}${one}\n`).join("");
}

const picked = (row: Row, brief: readonly number[] | undefined): Row =>
  brief ? brief.map((i) => row[i]!) : row;

/** Charts are for pages that have room. */
export function pageText({ title, blocks }: Page, width = 100): string {
  const text = (block: Block): string => {
    switch (block.kind) {
      case "heading":
        return `\n${block.text}\n`;
      case "text":
        return wrapped(block.text, width);
      case "list":
        return block.items.map((item) => `- ${wrapped(item, width, "  ").trimStart()}`).join("");
      case "table": {
        const { header, rows, brief, caption } = block;
        const body = columns(
          picked(header, brief),
          rows.map((row) => picked(row, brief)),
          block.words,
        );
        return body + (caption ? wrapped(caption, width) : "");
      }
      case "chart":
        return "";
    }
  };
  return `${title}\n${blocks.map(text).join("")}`;
}

export function pageMarkdown({ title, blocks }: Page): string {
  const text = (block: Block): string => {
    switch (block.kind) {
      case "heading":
        return `## ${block.text}\n\n`;
      case "text":
        return `${block.text}\n\n`;
      case "list":
        return `${block.items.map((item) => `- ${item}\n`).join("")}\n`;
      case "table":
        return `${markdownTable(block.header, block.rows, block.words)}\n${block.caption ? `${block.caption}\n\n` : ""}`;
      case "chart":
        return "";
    }
  };
  return `# ${title}\n\n${blocks.map(text).join("")}`.replace(/\n+$/, "\n");
}
