/** The page at `/` in a browser without a screen: nothing from elsewhere, text as it comes, probabilities, ranks. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Browser, chromium, type Page } from "playwright-core";
import type { ServerOptions } from "../../lib/server/index.js";
import { serveTiny, tinyEngine } from "../helpers/server.js";

const executablePath = ["chromium", "chromium-browser", "google-chrome"]
  .map((name) => spawnSync("which", [name], { encoding: "utf8" }).stdout.trim())
  .find((path) => path !== "");

/** A folder to look at: KRAKEN_SCREENSHOTS=… puts pictures of the page there. */
const screenshots = process.env.KRAKEN_SCREENSHOTS;

describe("the page in Chromium", { skip: executablePath ? false : "no Chromium is installed" }, () => {
  let tiny: Awaited<ReturnType<typeof tinyEngine>>;
  let served: Awaited<ReturnType<typeof serveTiny>>;
  let browser: Browser;
  before(async () => {
    tiny = await tinyEngine();
    served = await serveTiny(process.env.KRAKEN_PAGE_ENGINE ?? tiny.directory);
    browser = await chromium.launch({ executablePath: executablePath!, args: ["--no-sandbox"] });
  });
  after(async () => {
    await browser?.close();
    await served[Symbol.asyncDispose]();
    await tiny[Symbol.asyncDispose]();
  });

  async function open(url: string, colorScheme: "light" | "dark" = "light", width = 1180): Promise<Page> {
    const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
    page.on("pageerror", (error) => assert.fail(error));
    page.on("request", (request) =>
      assert.ok(/^(data:|http:\/\/127\.0\.0\.1:)/.test(request.url()), request.url()),
    );
    await page.goto(url);
    return page;
  }

  /** Generates and waits for the end. */
  async function generate(page: Page, fields: Record<string, string> = {}): Promise<void> {
    for (const [id, value] of Object.entries(fields)) await page.fill(`#${id}`, value);
    await page.click("#go");
    await page.locator("#go:text-is('Generate')").waitFor();
  }
  const text = (page: Page, selector: string) => page.locator(selector).innerText();

  test("says what runs", async () => {
    const page = await open(served.url);
    await page.locator("#about:not(:empty)").waitFor();
    assert.equal(await text(page, "h1"), served.server.modelName);
    assert.match(await text(page, "#about"), /^kraken, 2 ways, \d+ layers, \w+, on 2 ranks$/);
    assert.equal(await text(page, "#health"), "2 ranks alive");
    await page.close();
  });

  for (const scheme of ["light", "dark"] as const) {
    test(`shows text, probabilities, figures and ranks (${scheme})`, async () => {
      const page = await open(served.url, scheme);
      const fields = { prompt: "It was a fine morning", max_tokens: "90", seed: "5", temperature: "0.7" };
      await generate(page, fields);
      const expected = await served.engine.generate(fields.prompt, {
        maxTokens: 90,
        seed: 5,
        temperature: 0.7,
        topP: 0.9,
      });
      assert.equal(
        await page.evaluate("document.querySelector('#text').textContent"),
        fields.prompt + expected.text,
      );
      assert.equal(await text(page, "#count"), "90");
      assert.match(await text(page, "#ttft"), /^\d+(\.\d+)? ms$/);
      assert.ok(Number(await text(page, "#rate")) > 0);
      const probabilities = await page.evaluate<number[]>(
        `[...document.querySelectorAll(".token")].map((span) => Number(span.dataset.probability))`,
      );
      assert.ok(probabilities.length > 10 && probabilities.every((p) => p > 0 && p <= 1));

      await page.locator("#ranks svg").waitFor();
      const bars = await page.evaluate<
        Record<string, number>
      >(`Object.fromEntries(["compute", "hidden", "exposed"]
        .map((kind) => [kind, document.querySelectorAll("#ranks rect." + kind).length]))`);
      assert.deepEqual(bars, { compute: 2, hidden: 2, exposed: 2 });
      assert.match(await text(page, "#step"), /^A step takes [\d.]+ ms, the mean of the last \d+\.$/);

      await page.locator(".token").nth(5).hover();
      const rows = await page.evaluate<string[][]>(
        `[...document.querySelectorAll("#tip tr")].map((row) => [...row.cells].map((cell) => cell.textContent))`,
      );
      assert.ok(rows.length >= 5 && rows.every(([, chance]) => /^\d+\.\d %$/.test(chance!)), String(rows));
      assert.equal(await page.locator("#tip tr.chosen").count(), 1);
      if (screenshots) await page.screenshot({ path: join(screenshots, `page-${scheme}.png`) });
      const background = await page.evaluate("getComputedStyle(document.body).backgroundColor");
      assert.equal(background, scheme === "light" ? "rgb(255, 255, 255)" : "rgb(20, 24, 29)");
      await page.close();
    });
  }

  test("an error is said, and Esc stops", async () => {
    const page = await open(served.url);
    await generate(page, { prompt: "" });
    assert.match(await text(page, "#trouble"), /the prompt has no tokens/);
    await page.fill("#prompt", "x");
    // Nothing answers until it is told to stop.
    await page.route("**/v1/completions", () => {});
    await page.click("#go");
    assert.equal(await text(page, "#go"), "Stop");
    await page.keyboard.press("Escape");
    await page.locator("#go:text-is('Generate')").waitFor();
    assert.equal(await page.locator("#trouble").isHidden(), true);
    await page.close();
  });

  test("is not wider than a narrow window", async () => {
    for (const width of [1180, 800, 400]) {
      const page = await open(served.url, "light", width);
      await page.locator("#about:not(:empty)").waitFor();
      assert.ok((await page.evaluate<number>("document.documentElement.scrollWidth")) <= width, `${width}`);
      if (screenshots) await page.screenshot({ path: join(screenshots, `page-${width}.png`) });
      await page.close();
    }
  });

  test("text of a model is text, never markup", async () => {
    const page = await open(served.url);
    await page.route("**/v1/completions", (route) => {
      const logprobs = { tokens: ["<"], token_logprobs: [-1], top_logprobs: [{ "<": -1 }] };
      const chunk = { choices: [{ text: "<img src=x onerror=fail()>", logprobs }] };
      return route.fulfill({
        contentType: "text/event-stream",
        body: `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`,
      });
    });
    await generate(page, { prompt: "<b>" });
    assert.equal(await page.evaluate("document.querySelectorAll('#text img, #text b').length"), 0);
    await page.close();
  });

  test("with API keys it asks for one", async () => {
    const apiKeys = ["a-key-of-enough-letters"];
    const options: ServerOptions = { apiKeys };
    await using guarded = await serveTiny(tiny.directory, options);
    const page = await open(guarded.url);
    await page.locator("#key").waitFor();
    await page.fill("#key", apiKeys[0]!);
    await generate(page, { max_tokens: "5" });
    assert.equal(await text(page, "#count"), "5");
    await page.close();
  });

  test("can be left out", async () => {
    await using bare = await serveTiny(tiny.directory, { page: false });
    assert.equal((await fetch(bare.url)).status, 404);
  });
});
