/** The page at `/`: one document with its style and script inside, nothing fetched from elsewhere. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { FastifyInstance } from "fastify";

const asset = (name: string) => readFile(new URL(`../page/${name}`, import.meta.url), "utf8");
const hash = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

export async function pageRoute(app: FastifyInstance): Promise<void> {
  const [page, style, script] = await Promise.all(["page.html", "page.css", "page.js"].map(asset));
  const html = page!.replace("/*style*/", () => style!).replace("/*script*/", () => script!);
  const policy = [
    "default-src 'none'",
    `style-src ${hash(style!)}`,
    `script-src ${hash(script!)}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  app.get("/", { schema: { hide: true } }, async (_, reply) =>
    reply
      .headers({
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
      })
      .type("text/html; charset=utf-8")
      .send(html),
  );
}
