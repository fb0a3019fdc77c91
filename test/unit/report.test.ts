/** Reports as text, Markdown and HTML, and the charts in them: their structure. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { analyse } from "../../lib/bench/analysis.js";
import { timeByPart } from "../../lib/cli/bench/charts.js";
import { benchCsv, csvLine } from "../../lib/cli/bench/csv.js";
import { duration, shortTime } from "../../lib/cli/bench/format.js";
import { progressLine } from "../../lib/cli/bench/progress.js";
import { benchPage, benchSummary } from "../../lib/cli/bench/report.js";
import { loadCharts } from "../../lib/report/charts.js";
import { pageHtml } from "../../lib/report/html.js";
import { type Page, pageMarkdown, pageText, wrapped } from "../../lib/report/page.js";
import { summarize } from "../../lib/report/statistics.js";
import { benchRecord, cellRecord, phaseRecord, variant } from "../helpers/bench-records.js";

const page: Page = {
  title: "A & B",
  blocks: [
    { kind: "heading", text: "Numbers" },
    { kind: "text", text: "one two three four" },
    { kind: "list", items: ["a <b>", "c"] },
    {
      kind: "table",
      header: ["name", "value", "note"],
      rows: [["x", "1", 'say "hi"']],
      brief: [0, 1],
      words: 1,
    },
    {
      kind: "chart",
      title: "Chart",
      svg: "<svg></svg>",
      caption: "what it shows",
      legend: [{ label: "red", color: "var(--part-1)" }],
    },
  ],
};

describe("pages", () => {
  test("as text: brief tables, wrapped words, no charts", () => {
    assert.equal(
      pageText(page, 12),
      "A & B\n\nNumbers\none two\nthree four\n- a <b>\n- c\nname  value\nx     1\n",
    );
    assert.equal(wrapped("aaa bbb ccc", 9, "  "), "  aaa bbb\n  ccc\n");
  });

  test("as Markdown: whole tables", () => {
    assert.equal(
      pageMarkdown(page),
      '# A & B\n\n## Numbers\n\none two three four\n\n- a <b>\n- c\n\n| name | value | note |\n| --- | --: | --- |\n| x | 1 | say "hi" |\n',
    );
  });

  test("as HTML: everything escaped, charts and legends, nothing from elsewhere", () => {
    const html = pageHtml(page);
    assert.match(html, /^<!doctype html>/);
    assert.match(html, /<title>A &amp; B<\/title>/);
    assert.match(html, /<li>a &lt;b&gt;<\/li>/);
    assert.match(html, /<td class="words">say &quot;hi&quot;<\/td>/);
    assert.match(html, /<figure><h3>Chart<\/h3><svg><\/svg><figcaption>.*red.*what it shows/s);
    assert.match(html, /prefers-color-scheme: dark/);
    assert.match(html, /@media print/);
    assert.doesNotMatch(html, /<script|https?:|<link|@import|url\(/);
  });
});

const record = benchRecord([
  cellRecord([
    variant("standard", "main", phaseRecord([20, 21, 22], { collectiveMs: [3, 3, 3], exposedMs: [3, 3, 3] })),
    variant("Kraken", "main", phaseRecord([16, 17, 18], { collectiveMs: [3, 3, 3], exposedMs: [1, 1, 1] })),
    variant("ladder", "main", undefined, { failure: 'no, "never"' }),
    variant("standard", "bound", phaseRecord([15, 15, 15])),
    variant("Kraken", "bound", phaseRecord([15, 15, 15])),
    variant("standard", "one-rank", phaseRecord([30, 30, 30])),
  ]),
]);
const analysis = analyse(record);

describe("the report of a benchmark", () => {
  test("on a terminal: a table of each cell, what ended it, what was found", () => {
    const text = pageText(benchSummary(record, analysis), 110);
    assert.match(
      text,
      /^Time to first token, measured\nTest CPU, 2 cores; kraken-engine 1\.2\.3 \(commit 0123456789ab\)/,
    );
    assert.match(text, /^standard +21\.0 ms +21\.9 ms +– +– +15\.0 ms +71\.4 % +1\.00 ms +30\.0 ms$/m);
    assert.match(text, /^Kraken +17\.0 ms +17\.9 ms +\+23\.5 % +\+\d.* 15\.0 ms +88\.2 % +0\.33 ms +–$/m);
    assert.match(text, /^ladder +– +– /m);
    assert.match(
      text,
      /^3 rounds in 1\.0 s, ended as every interval is narrower than 5\.0 %; widest 95 % interval 1\.0 %\.$/m,
    );
    assert.match(text, /Kraken is faster than standard/);
    assert.ok(Math.max(...text.split("\n").map((line) => line.length)) <= 110);
  });

  test("an incomplete one says so", () => {
    assert.match(pageText(benchSummary({ ...record, complete: false }, analysis)), /Incomplete: .*--resume/);
  });

  test("as Markdown: every statistic, the models, the method, the machine", () => {
    const markdown = pageMarkdown(benchPage(record, analysis));
    assert.match(
      markdown,
      /^\| model \| median \| mean \| std \| min \| p90 \| p95 \| p99 \| engine \| speed-up \|/m,
    );
    for (const heading of [
      "Findings",
      "Geometric means of the speed-ups",
      "Models",
      "Method",
      "Machine and settings",
    ]) {
      assert.match(markdown, new RegExp(`^## ${heading}$`, "m"));
    }
    assert.match(markdown, /^- standard: gpt-tiny; 3 layers/m);
    assert.match(markdown, /Ranks are threads of one machine; no link is emulated/);
    assert.match(markdown, /^\| cpu \| model Test CPU, usable 2 \|$/m);
    const slow = { ...record, settings: { ...record.settings, link: "1Gbit,50us" } };
    assert.match(
      pageMarkdown(benchPage(slow, analysis)),
      /An emulated link: .*1Gbit,50us later.* No network was involved/,
    );
  });

  test("as CSV: a line for each variant, those that failed too", () => {
    const lines = benchCsv(analysis).trimEnd().split("\r\n");
    assert.equal(lines.length, 1 + 5 + 1);
    const columns = lines[0]!.split(",");
    const field = (line: number, name: string) => lines[line]!.split(",")[columns.indexOf(name)];
    assert.deepEqual(
      ["label", "role", "own_ranks", "n", "median_ms", "speed_up", "share_of_bound"].map((name) =>
        field(4, name),
      ),
      ["Kraken", "main", "2", "3", "17", String(21 / 17), String(15 / 17)],
    );
    assert.match(lines[6]!, /^paper:tiny,bfloat16,2,cpu,none,128,1,ladder,.*,"no, ""never"""$/);
    for (const line of lines.slice(0, 6)) assert.equal(line.split(",").length, columns.length);
    assert.equal(csvLine(["a,b", null, 1, 'q"']), '"a,b",,1,"q"""\r\n');
  });

  test("as HTML: its charts", async () => {
    const html = pageHtml(benchPage(record, analysis, await loadCharts()));
    assert.equal(html.match(/<svg /g)?.length, 4);
    for (const title of [
      "Speed-up over standard",
      "Time to first token",
      "Where the time went",
      "Communication",
    ]) {
      assert.match(html, new RegExp(`<h3>${title}</h3>`));
    }
    assert.doesNotMatch(html.replaceAll("http://www.w3.org/", ""), /<script|https?:|<link|url\(/);
  });
});

describe("charts", () => {
  test("bars have intervals, ticks and rings where there are any", async () => {
    const charts = await loadCharts();
    const svg = charts.bars(
      [
        {
          label: "one",
          value: 3,
          color: "var(--kraken)",
          interval: { estimate: 3, low: 2, high: 4 },
          tick: 1,
          ring: 5,
        },
        { label: "two", value: 6, color: "var(--ladder)" },
      ],
      "milliseconds",
    );
    assert.equal(svg.match(/<rect /g)?.length, 2);
    assert.equal(svg.match(/<circle /g)?.length, 1);
    for (const word of ["one", "two", "milliseconds", "var(--kraken)", "var(--ladder)"])
      assert.ok(svg.includes(word));
  });

  test("parts lie one after another, in the order given", async () => {
    const charts = await loadCharts();
    const part = (name: string, value: number) => ({
      label: "row",
      part: name,
      value,
      color: `var(--${name})`,
    });
    const svg = charts.stacked([part("first", 2), part("second", 6)], "us");
    const rectangles = [...svg.matchAll(/<rect fill="var\(--(\w+)\)".*?width="([\d.]+)".*?x="([\d.]+)"/g)];
    assert.deepEqual(
      rectangles.map((match) => match[1]),
      ["first", "second"],
    );
    const [[, , width1, x1], [, , width2, x2]] = rectangles as unknown as [string[], string[]];
    assert.ok(Math.abs(Number(x1) + Number(width1) - Number(x2)) < 1e-6);
    assert.ok(Math.abs(Number(width2) / Number(width1) - 3) < 1e-6);
  });

  test("dots of one label share a row, groups have headings", async () => {
    const charts = await loadCharts();
    const dot = (group: string, label: string, estimate: number) => ({
      ...{ group, label, estimate, low: estimate - 1, high: estimate + 1 },
      color: "var(--kraken)",
    });
    const svg = charts.dots([dot("g1", "a", 1), dot("g1", "a", 2), dot("g2", "a", -3)], "percent", [2]);
    assert.equal(svg.match(/<circle /g)?.length, 3);
    const heights = [...svg.matchAll(/<circle .*?cy="([\d.]+)"/g)].map((match) => match[1]);
    assert.equal(heights[0], heights[1]);
    assert.notEqual(heights[1], heights[2]);
    assert.match(svg, />g1</);
    assert.match(svg, />g2</);
    assert.match(svg, /stroke-dasharray="4,3"/);
  });

  test("time by kind of op, and what is left", () => {
    const perOpMs = {
      "attn.qkv": 2,
      "mlp.up": 1,
      conjunction: 0.5,
      attention: 3,
      join_norm: 0.25,
      head: 0.5,
      wait: 1,
    };
    const engine = summarize([10]);
    assert.deepEqual(timeByPart({ perOpMs, engine }), [3.5, 3, 0.25, 0.5, 1, 1.75]);
  });
});

test("what a progress line says", () => {
  const cell = { what: "paper:125m, context 128", done: 1, cells: 4 };
  assert.equal(
    progressLine({ ...cell, stage: "check" }),
    "cell 2 of 4, checking the logits: paper:125m, context 128",
  );
  assert.equal(
    progressLine({
      ...cell,
      stage: "measure",
      round: 7,
      expectedRounds: 20,
      widestInterval: 0.061,
      secondsLeft: 200,
    }),
    "cell 2 of 4, round 7 of about 20, interval 6.1 %, 3 min left: paper:125m, context 128",
  );
  assert.deepEqual([duration(12.1), duration(600), duration(7260)], ["13 s", "10 min", "2 h 1 min"]);
  assert.deepEqual([shortTime(0.0042), shortTime(0.042), shortTime(4.2)], ["4.2 us", "42 us", "4.20 ms"]);
});
