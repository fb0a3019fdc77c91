/**
 * 256 clients for half a minute (KRAKEN_LOAD_SECONDS says otherwise), a quarter of whose requests are dropped at random:
 * whoever waits for an answer gets its own, to the token; nothing is left behind, and the server does not grow.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { Agent, type ClientRequest, request } from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "../../lib/engine.js";
import { type ServeProcess, startServe } from "../helpers/serve-process.js";
import { tinyEngine } from "../helpers/server.js";

const seconds = Number(process.env.KRAKEN_LOAD_SECONDS ?? 30);
const connections = 256;
const dropped = 0.25;
/** No request may take longer: it would be lost. */
const patienceMs = 20_000;
/** What the server may grow after the first 40 % of the time. */
const growthMiB = 64;

interface Case {
  prompt: number[];
  max_tokens: number;
  tokens: number[];
}

let tiny: Awaited<ReturnType<typeof tinyEngine>>;
let kraken: ServeProcess;
let cases: Case[];

before(async () => {
  tiny = await tinyEngine();
  await using engine = await Engine.load(tiny.directory);
  cases = await Promise.all(
    Array.from({ length: 64 }, async (_, i) => {
      const prompt = Array.from({ length: 1 + ((i * 7) % 40) }, (_, at) => (i * 31 + at * 17) % 256);
      const max_tokens = 1 + ((i * 13) % 60);
      const { tokens } = await engine.generate(prompt, {
        maxTokens: max_tokens,
        temperature: 0,
        ignoreEos: true,
      });
      return { prompt, max_tokens, tokens };
    }),
  );
  const limits = ["--batch", "32", "--max-queue", "128", "--max-requests", "224"];
  kraken = await startServe([tiny.directory, ...limits, "--log-level", "warn"]);
});
after(async () => {
  await kraken?.[Symbol.asyncDispose]();
  await tiny?.[Symbol.asyncDispose]();
});

const agent = new Agent({ keepAlive: true, maxSockets: connections });

type Outcome = "answered" | "refused" | "dropped";

/** One request of one client, to its end. @throws when the answer is not what it should be */
function ask({ prompt, max_tokens, tokens }: Case): Promise<Outcome> {
  const stream = Math.random() < 0.5;
  const drop = Math.random() < dropped;
  const body = JSON.stringify({
    prompt,
    max_tokens,
    temperature: 0,
    ignore_eos: true,
    return_token_ids: true,
    stream,
  });
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const sent: ClientRequest = request(`${kraken.url}/v1/completions`, { method: "POST", agent, headers });
    const lost = setTimeout(() => {
      reject(new Error(`no answer within ${patienceMs} ms`));
      sent.destroy();
    }, patienceMs);
    if (drop) {
      setTimeout(() => {
        resolve("dropped");
        sent.destroy();
      }, Math.random() * 100);
    }
    const end = (outcome: () => Outcome) => {
      clearTimeout(lost);
      try {
        resolve(outcome());
      } catch (error) {
        reject(error);
      }
    };
    sent.on("error", (error) => {
      clearTimeout(lost);
      if (!sent.destroyed || !drop) reject(error);
    });
    sent.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (data) => {
        text += data;
      });
      response.on("error", () => {}); // dropped
      response.on("close", () => clearTimeout(lost));
      response.on("end", () =>
        end(() => {
          if (response.statusCode === 429) {
            assert.match(response.headers["retry-after"] ?? "", /^\d+$/);
            return "refused";
          }
          assert.equal(response.statusCode, 200, text);
          assert.deepEqual(stream ? streamedIds(text) : JSON.parse(text).choices[0].token_ids, tokens);
          return "answered";
        }),
      );
    });
    sent.end(body);
  });
}

function streamedIds(text: string): number[] {
  const events = text.split("\n\n").filter((event) => event.startsWith("data: "));
  assert.equal(events.pop(), "data: [DONE]");
  return events.flatMap((event) => JSON.parse(event.slice(6)).choices[0].token_ids ?? []);
}

const residentMiB = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${kraken.child.pid}/status`, "utf8"))?.[1]) / 1024;
const openFiles = () => readdirSync(`/proc/${kraken.child.pid}/fd`).length;

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${kraken.url}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

const skip = process.platform === "linux" ? false : "memory and files are looked up in /proc";

test(`${connections} clients for ${seconds} s`, { skip }, async (t) => {
  const counts: Record<Outcome, number> = { answered: 0, refused: 0, dropped: 0 };
  const idleFiles = openFiles();
  const until = performance.now() + seconds * 1000;
  const failures: unknown[] = [];
  const client = async () => {
    while (performance.now() < until && failures.length === 0) {
      const one = cases[Math.floor(Math.random() * cases.length)]!;
      try {
        const outcome = await ask(one);
        counts[outcome]++;
        if (outcome === "refused") await sleep(20 + Math.random() * 80);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  const clients = Promise.all(Array.from({ length: connections }, client));
  const resident: number[] = [];
  for (let tenth = 0; tenth < 10; tenth++) {
    await sleep(seconds * 100);
    resident.push(residentMiB());
  }
  await clients;
  t.diagnostic(
    `${counts.answered} answered, ${counts.refused} refused, ${counts.dropped} dropped; ` +
      `resident MiB at every tenth: ${resident.map((mib) => mib.toFixed(0)).join(", ")}`,
  );
  const [early, late] = [Math.max(...resident.slice(0, 4)), resident.at(-1)!];
  assert.deepEqual(failures, []);
  assert.ok(counts.answered > seconds * 10 && counts.dropped > seconds, JSON.stringify(counts));
  assert.ok(late - early < growthMiB, `grew by ${(late - early).toFixed(1)} MiB`);

  agent.destroy();
  for (const deadline = performance.now() + 3000; performance.now() < deadline; await sleep(50)) {
    if (openFiles() <= idleFiles + 2) break;
  }
  assert.ok(openFiles() <= idleFiles + 2, `${openFiles()} open files, ${idleFiles} before`);
  for (const name of [
    "num_requests_running",
    "num_requests_waiting",
    "num_http_requests",
    "kv_cache_usage_perc",
  ]) {
    assert.equal(await metric(`kraken_${name}`), 0, name);
  }
  assert.equal((await fetch(`${kraken.url}/health`)).status, 200);
  // Everybody is accounted for: answered, or noticed to have gone.
  assert.equal((await metric("kraken_request_success_total")) >= counts.answered, true);
  const unexpected = kraken.stderr();
  assert.equal(unexpected, "");
});
