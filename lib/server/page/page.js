// The page's script: asks /v1/completions for a stream with log-probabilities and draws what /stats says of the ranks.

const $ = (id) => document.getElementById(id);
const alternatives = 5;
/** Milliseconds between two looks at the engine, while it runs for this page and while not. */
const pace = { running: 250, idle: 2000 };

let running; // the AbortController of the generation, while there is one

function headers() {
  const key = $("key").value;
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function fetchJson(path) {
  const response = await fetch(path, { headers: headers() });
  if (response.status === 401) $("key-label").hidden = false;
  const body = await response.json();
  return { ok: response.ok, body };
}

// --- the engine ---

async function showModel() {
  const { ok, body } = await fetchJson("/v1/models");
  if (ok) $("model").textContent = document.title = body.data[0].id;
}

async function showHealth() {
  const health = $("health");
  try {
    const { ok, body } = await fetchJson("/health");
    health.className = ok ? "ok" : "bad";
    $("health-text").textContent = ok ? `${body.ranksAlive} ranks alive` : `${body.status}: ${body.reason}`;
  } catch {
    health.className = "bad";
    $("health-text").textContent = "the server does not answer";
  }
}

let last; // the counts of the last look

async function showRanks() {
  const { ok, body: now } = await fetchJson("/stats");
  if (!ok) return;
  const ways = now.ways > 1 ? `${now.ways} ways, ` : "";
  $("about").textContent =
    `${now.architecture}, ${ways}${now.layers} layers, ${now.dtype}, on ${now.ranks} ranks`;
  const steps = last ? now.steps - last.steps : 0;
  if (steps > 0) drawRanks(perStep(now, last, steps), steps);
  last = now;
}

/** Milliseconds of a mean step since the last look. */
function perStep(now, before, steps) {
  const step = (now.stepMsTotal - before.stepMsTotal) / steps;
  const ranks = now.exposedMs.map((total, rank) => {
    const exposed = Math.min(step, (total - before.exposedMs[rank]) / steps);
    const hidden = Math.min(step - exposed, (now.hiddenMs[rank] - before.hiddenMs[rank]) / steps);
    return { compute: step - exposed, exposed, hidden };
  });
  return { step, ranks };
}

const svg = (name, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

const ms = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;

/** Two lanes for each rank: what it computes, and below it what travels meanwhile or is waited for. */
function drawRanks({ step, ranks }, steps) {
  const [width, left, height] = [340, 46, 44];
  const room = width - left;
  const scale = step > 0 ? room / step : 0;
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${ranks.length * height + 4}`,
    role: "img",
    "aria-label": ranks
      .map((r, i) => `rank ${i}: compute ${ms(r.compute)}, hidden ${ms(r.hidden)}, waiting ${ms(r.exposed)}`)
      .join("; "),
  });
  for (const [rank, { compute, hidden, exposed }] of ranks.entries()) {
    const y = rank * height;
    const bar = (name, from, length, top, thick) =>
      picture.append(
        svg("rect", {
          class: name,
          x: left + from * scale,
          y: y + top,
          width: Math.max(0, length * scale),
          height: thick,
          rx: 2,
        }),
      );
    picture.append(svg("text", { x: 0, y: y + 15 }, `rank ${rank}`));
    picture.append(svg("rect", { class: "track", x: left, y: y + 4, width: room, height: 24, rx: 2 }));
    bar("compute", 0, compute, 4, 14);
    bar("hidden", compute - hidden, hidden, 20, 8);
    bar("exposed", compute, exposed, 4, 24);
    const words = `${ms(compute)} · ${ms(hidden)} hidden · ${ms(exposed)} waiting`;
    picture.append(svg("text", { class: "faint", x: left, y: y + 40 }, words));
  }
  $("ranks").replaceChildren(picture);
  $("step").textContent = `A step takes ${ms(step)}, the mean of the last ${steps}.`;
}

async function watch() {
  const before = running;
  if (!document.hidden) await Promise.all([showRanks().catch(() => {}), before ? undefined : showHealth()]);
  setTimeout(watch, running ? pace.running : pace.idle);
}

// --- the text ---

function request() {
  const body = { prompt: $("prompt").value, stream: true, logprobs: alternatives };
  for (const name of ["max_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed"]) {
    if ($(name).value !== "") body[name] = Number($(name).value);
  }
  if ($("stop").value !== "") body.stop = $("stop").value.replaceAll("\\n", "\n");
  return body;
}

/** The `data` of server-sent events. */
async function* eventsOf(response) {
  let text = "";
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += decoder.decode(part.value, { stream: true });
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) if (event.startsWith("data: ")) yield event.slice(6);
  }
}

function tokenSpan(text, logprobs) {
  const span = document.createElement("span");
  span.className = "token";
  span.textContent = text;
  const probability = Math.exp(Math.min(...logprobs.token_logprobs));
  span.dataset.probability = probability;
  span.style.backgroundColor = `rgba(var(--unlikely), ${(0.45 * (1 - probability) ** 2).toFixed(3)})`;
  span.logprobs = logprobs;
  return span;
}

async function generate() {
  const controller = new AbortController();
  running = controller;
  const output = $("text");
  const prompt = document.createElement("span");
  prompt.className = "prompt";
  prompt.textContent = $("prompt").value;
  output.replaceChildren(prompt);
  $("trouble").hidden = true;
  for (const id of ["ttft", "rate", "count"]) $(id).textContent = "–";
  $("go").textContent = "Stop";
  $("go").classList.add("stop");
  const started = performance.now();
  let first;
  let count = 0;
  let held; // tokens whose character is not complete
  try {
    const response = await fetch("/v1/completions", {
      method: "POST",
      headers: { "content-type": "application/json", ...headers() },
      body: JSON.stringify(request()),
      signal: controller.signal,
    });
    if (response.status === 401) $("key-label").hidden = false;
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const data of eventsOf(response)) {
      if (data === "[DONE]") break;
      const { error, choices } = JSON.parse(data);
      if (error) throw new Error(error.message);
      const { text, logprobs } = choices[0];
      const now = performance.now();
      if (logprobs) {
        count += logprobs.tokens.length;
        first ??= now;
        $("ttft").textContent = ms(first - started);
        $("count").textContent = count;
        if (count > 1) $("rate").textContent = (((count - 1) * 1000) / (now - first)).toFixed(0);
      }
      const known = held && logprobs ? joined(held, logprobs) : (logprobs ?? held);
      if (text === "") {
        held = known;
        continue;
      }
      held = undefined;
      const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
      output.append(known ? tokenSpan(text, known) : document.createTextNode(text));
      if (atEnd) output.scrollTop = output.scrollHeight;
    }
  } catch (error) {
    if (!controller.signal.aborted) {
      $("trouble").textContent = error.message;
      $("trouble").hidden = false;
    }
  } finally {
    running = undefined;
    $("go").textContent = "Generate";
    $("go").classList.remove("stop");
  }
}

const joined = (a, b) => ({
  tokens: [...a.tokens, ...b.tokens],
  token_logprobs: [...a.token_logprobs, ...b.token_logprobs],
  top_logprobs: [...a.top_logprobs, ...b.top_logprobs],
});

// --- the tokens' probabilities ---

const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)} %`;

function showTip(span) {
  const { tokens, token_logprobs, top_logprobs } = span.logprobs;
  const table = document.createElement("table");
  for (const [i, token] of tokens.entries()) {
    const likeliest = Object.entries(top_logprobs[i] ?? {}).sort((a, b) => b[1] - a[1]);
    const rows = likeliest.some(([word]) => word === token)
      ? likeliest
      : [[token, token_logprobs[i]], ...likeliest];
    for (const [word, logprob] of rows) {
      const row = table.insertRow();
      if (word === token) row.className = "chosen";
      row.insertCell().textContent = JSON.stringify(word).slice(1, -1);
      row.insertCell().textContent = percent(logprob);
    }
  }
  const tip = $("tip");
  tip.replaceChildren(table);
  tip.hidden = false;
  const at = span.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(at.left, innerWidth - width - 4))}px`;
  tip.style.top = `${at.bottom + height + 8 < innerHeight ? at.bottom + 4 : at.top - height - 4}px`;
}

$("text").addEventListener("mouseover", ({ target }) => {
  if (target.logprobs) showTip(target);
  else $("tip").hidden = true;
});
$("text").addEventListener("mouseleave", () => {
  $("tip").hidden = true;
});

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else generate();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running) $("form").requestSubmit();
});
$("key").addEventListener("change", showModel);
showModel();
watch();
