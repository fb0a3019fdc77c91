/** The page of a report in a browser without a screen: light, dark and printed, with scripts off and no network. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { analyse } from "../../lib/bench/analysis.js";
import { benchPage } from "../../lib/cli/bench/report.js";
import { loadCharts } from "../../lib/report/charts.js";
import { pageHtml } from "../../lib/report/html.js";
import { benchRecord, cellRecord, phaseRecord, variant } from "../helpers/bench-records.js";

const executablePath = ["chromium", "chromium-browser", "google-chrome"]
  .map((name) => spawnSync("which", [name], { encoding: "utf8" }).stdout.trim())
  .find((path) => path !== "");

const labels = ["standard", "parallel", "ladder", "Kraken"];

function record() {
  const cell = (context: number, scale: number) =>
    cellRecord(
      [
        ...labels.map((label, i) =>
          variant(
            label,
            "main",
            phaseRecord(
              [20, 21, 22].map((ms) => scale * (ms - i)),
              { collectiveMs: [3, 3, 3], exposedMs: [2, 2, 2] },
            ),
          ),
        ),
        ...labels.map((label) => variant(label, "bound", phaseRecord([15, 15, 15].map((ms) => scale * ms)))),
        ...labels.map((label) =>
          variant(label, "one-rank", phaseRecord([25, 25, 25].map((ms) => scale * ms))),
        ),
      ],
      { context },
    );
  return benchRecord([cell(128, 1), cell(1024, 9)]);
}

const style = (page: Page, selector: string, property: string) =>
  page.evaluate<string>(
    `getComputedStyle(document.querySelector(${JSON.stringify(selector)}))["${property}"]`,
  );

describe("a report in Chromium", { skip: executablePath ? false : "no Chromium is installed" }, () => {
  const work = mkdtempSync(join(tmpdir(), "kraken-html-"));
  const file = join(work, "report.html");
  let browser: Browser;

  before(async () => {
    const result = record();
    writeFileSync(file, pageHtml(benchPage(result, analyse(result), await loadCharts())));
    browser = await chromium.launch({ executablePath: executablePath!, args: ["--no-sandbox"] });
  });
  after(async () => {
    await browser?.close();
    rmSync(work, { recursive: true });
  });

  async function open(colorScheme: "light" | "dark", width = 1280): Promise<Page> {
    const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
    const requests: string[] = [];
    page.on("request", (request) => requests.push(request.url()));
    page.on("console", (message) => assert.fail(message.text()));
    page.on("pageerror", (error) => assert.fail(error));
    const url = pathToFileURL(file).href;
    await page.goto(url);
    assert.deepEqual(requests, [url]);
    return page;
  }

  test("shows every chart, with all its bars and words inside", async () => {
    const page = await open("light");
    const charts = await page.evaluate<{ title: string; width: number; texts: number; marks: number }[]>(
      `[...document.querySelectorAll("figure")].map((figure) => ({
        title: figure.querySelector("h3").textContent,
        width: figure.querySelector("svg").getBoundingClientRect().width,
        texts: figure.querySelectorAll("svg text").length,
        marks: [...figure.querySelectorAll("svg rect, svg circle")].filter((mark) => {
          const box = mark.getBoundingClientRect();
          const around = figure.getBoundingClientRect();
          return box.width > 0.5 && box.height > 2 && box.left >= around.left - 1 && box.right <= around.right + 1;
        }).length,
      }))`,
    );
    assert.deepEqual(
      charts.map(({ title, marks }) => [title, marks]),
      [
        ["Speed-up over standard", 6], // a dot for each of three models in two cells
        ...["first", "second"].flatMap(() => [
          ["Time to first token", 8], // a bar and a ring for each model
          ["Where the time went", 16], // four parts of each that are not nothing
          ["Communication", 8],
        ]),
      ],
    );
    for (const { title, width, texts } of charts) assert.ok(width > 300 && texts > 6, title);
    await page.close();
  });

  test("nothing overflows, and the page is not wider than a narrow window", async () => {
    for (const width of [1280, 800, 420]) {
      const page = await open("light", width);
      assert.ok((await page.evaluate<number>("document.documentElement.scrollWidth")) <= width);
      await page.close();
    }
  });

  test("is dark where people want it, in other colours", async () => {
    const [light, dark] = [await open("light"), await open("dark")];
    for (const [page, background, text] of [
      [light, "rgb(255, 255, 255)", "rgb(27, 31, 36)"],
      [dark, "rgb(20, 24, 29)", "rgb(227, 231, 236)"],
    ] as const) {
      assert.equal(await style(page, "body", "backgroundColor"), background);
      assert.equal(await style(page, "figure svg text", "fill"), text);
    }
    const fills = (page: Page) =>
      page.evaluate<string[]>(
        `[...new Set([...document.querySelectorAll("figure svg rect")].map((bar) => getComputedStyle(bar).fill))]`,
      );
    const [inLight, inDark] = [await fills(light), await fills(dark)];
    assert.ok(inLight.length >= 7 && inLight.every((fill) => /^rgb\(/.test(fill)), String(inLight));
    assert.ok(inDark.every((fill) => !inLight.includes(fill)));
    await light.close();
    await dark.close();
  });

  test("prints on white, even from a dark screen", async () => {
    const page = await open("dark");
    await page.emulateMedia({ media: "print" });
    assert.equal(await style(page, "body", "backgroundColor"), "rgb(255, 255, 255)");
    const pdf = await page.pdf({ format: "A4" });
    assert.equal(pdf.subarray(0, 5).toString(), "%PDF-");
    const pages = pdf.toString("latin1").match(/\/Type \/Page\b/g)?.length ?? 0;
    assert.ok(pages >= 1 && pages <= 5, `${pages} pages`);
    await page.close();
  });
});
