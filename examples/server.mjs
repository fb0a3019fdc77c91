/** A server of one's own in front of an engine: a route beside the API's, and a client that asks both. */
import { Engine } from "kraken-engine";
import { createServer } from "kraken-engine/server";
import { demoEngine } from "./demo-engine.mjs";

const engine = await Engine.load(await demoEngine());
const server = await createServer(engine, { modelName: "demo", logLevel: "warn", maxOutputTokens: 64 });
server.app.get("/hello", async () => `this is ${server.modelName}`);
const url = await server.listen({ port: 0 });

const hello = await fetch(`${url}/hello`);
console.log(`${hello.status}: ${await hello.text()}`);

const completion = await fetch(`${url}/v1/completions`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ model: "demo", prompt: "My dear", max_tokens: 16, temperature: 0 }),
});
const { choices, usage } = /** @type {any} */ (await completion.json());
console.log(`${completion.status}: ${JSON.stringify(choices[0].text)}, ${usage.completion_tokens} tokens`);

// The server first: it lets what runs end.
await server.close();
await engine.dispose();
