/** What bench:peers makes of its command line and of samples; no peer is installed or run. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bars } from "../../bench/peers/chart.js";
import { parseOptions } from "../../bench/peers/options.js";
import { markdownText, terminalText } from "../../bench/peers/report.js";
import {
  baseline,
  figure,
  headlines,
  type PeerResult,
  type PeersReport,
  relativeError,
} from "../../bench/peers/results.js";

const result = (runtime: PeerResult["runtime"], dtype: PeerResult["dtype"], ttft: number): PeerResult => ({
  model: "kraken",
  runtime,
  dtype,
  status: "measured",
  check: { prefill: 0.001, decode: 0.002, tolerance: 0.03 },
  versions: { [runtime]: "1.2.3" },
  samplesMs: { "ttft@128": [ttft + 1, ttft, ttft - 1], "decode@128": [ttft / 10, ttft / 10, ttft / 10] },
});

const unmeasured = (status: "failed" | "not measured", reason: string): PeerResult => ({
  ...result("pytorch", "float32", 1),
  status,
  reason,
  check: { prefill: 0.5, decode: 0.25, tolerance: 0.0001 },
  samplesMs: {},
});

const report = (...results: PeerResult[]): PeersReport => ({
  environment: {
    date: "2025-01-02T03:04:05.000Z",
    commit: "abc1234",
    cpu: "Some CPU",
    cores: 2,
    clockMHz: 2600,
    memoryBytes: 2 ** 34,
    system: "Linux 6",
    node: "v20.17.0",
  },
  command: "npm run -s bench:peers -- --rounds 3",
  rounds: 3,
  threads: 2,
  metrics: ["ttft@128", "decode@128"],
  results,
});

const ours = result("kraken-engine", "bfloat16", 20);

describe("options", () => {
  test("everything by default, but for 8 bits", () => {
    const options = parseOptions([]);
    assert.deepEqual(options.models, ["kraken", "gpt2"]);
    assert.deepEqual(options.dtypes, ["bfloat16", "float16", "float32"]);
    assert.deepEqual(options.contexts, [128, 1023]);
    assert.equal(options.rounds, 7);
    assert.equal(options.runtimes.length, 6);
  });

  test("ours runs whichever peers are named, and comes first", () => {
    assert.deepEqual(parseOptions(["--peers", "llama.cpp,pytorch"]).runtimes, [
      "kraken-engine",
      "pytorch",
      "llama.cpp",
    ]);
  });

  test("contexts ascend, each once", () => {
    assert.deepEqual(parseOptions(["--contexts", "512, 64,512"]).contexts, [64, 512]);
  });

  for (const [args, message] of [
    [["--peers", "pytroch"], /`peers` must be pytorch\?, got 'pytroch'/],
    [["--models", "x"], /`models` must be some of kraken, gpt2/],
    [["--rounds", "0"], /`rounds` must be an integer from 1/],
    [["--rounds", "1e3"], /`rounds`/],
    [["--contexts", "1024"], /`contexts` must be an integer from 2 to 1023/],
    [["--contexts", "1010"], /short enough to decode 16 tokens/],
  ] as const) {
    test(`refuses ${args.join(" ")}`, () => {
      assert.throws(() => parseOptions(args), { code: "ERR_OPTION", message });
    });
  }
});

describe("the check of logits", () => {
  const reference = Float32Array.of(1, -4, 2);

  test("is relative to the largest logit", () => {
    assert.equal(relativeError(Float32Array.of(1, -4, 3), reference), 0.25);
    assert.equal(relativeError(reference, reference), 0);
  });

  test("NaN and another vocabulary never pass", () => {
    for (const bad of [Float32Array.of(1, Number.NaN, 2), Float32Array.of(1, -4)]) {
      assert.ok(!(relativeError(bad, reference) <= 1));
    }
  });
});

describe("figures", () => {
  const slow = result("pytorch", "bfloat16", 60);
  const fast = result("onnxruntime", "float32", 50);
  const eight = result("llama.cpp", "int8", 10);

  test("the baseline is ours in the first dtype that was measured", () => {
    const second = result("kraken-engine", "float32", 40);
    assert.equal(baseline(report(ours, second), "kraken"), ours);
    assert.equal(baseline(report({ ...ours, status: "failed" }, second), "kraken"), second);
    assert.equal(baseline(report(ours), "gpt2"), undefined);
  });

  test("a ratio is how many times as long as ours", () => {
    const { medianMs, ratio } = figure(report(ours, slow), slow, "ttft@128");
    assert.equal(medianMs, 60);
    assert.equal(ratio!.estimate, 3);
    assert.ok(ratio!.low <= 3 && ratio!.high >= 3 && ratio!.low > 2.5 && ratio!.high < 3.5);
  });

  test("the headline names the fastest peer of a width like ours", () => {
    const [ttft] = headlines(report(ours, slow, fast, eight), "kraken");
    assert.equal(ttft!.peer, fast);
    assert.equal(ttft!.ratio!.estimate, 2.5);
    assert.deepEqual(headlines(report(ours, eight), "kraken"), []);
  });

  test("who computes in 8 bits is set against ours in 8 bits", () => {
    const oursIn8 = result("kraken-engine", "int8", 5);
    const all = report(ours, oursIn8, slow, eight);
    assert.equal(figure(all, eight, "ttft@128").ratio!.estimate, 2);
    assert.equal(figure(all, oursIn8, "ttft@128").ratio!.estimate, 0.25);
    const found = headlines(all, "kraken").map(({ peer }) => peer);
    assert.deepEqual(new Set(found), new Set([slow, eight]));
    assert.deepEqual(headlines(report(oursIn8, slow), "kraken"), []);
  });
});

describe("what is shown", () => {
  const failed = unmeasured("failed", "far off");
  const missing = { ...unmeasured("not measured", "no wheel for this machine"), dtype: "bfloat16" as const };
  const all = report(ours, result("onnxruntime", "float32", 50), failed, missing);

  test("nothing is dropped: failed with its figure, not measured with its reason", () => {
    for (const text of [terminalText(all), markdownText(all)]) {
      assert.match(text, /kraken-125m-2way/);
      assert.match(text, /pytorch float32.*failed: 5\.0e-1, at most 0\.0001/);
      assert.match(text, /pytorch bfloat16.*not measured: no wheel for this machine/);
      assert.match(text, /2\.50 \(2\.\d\d–2\.\d\d\)/);
      assert.match(text, /commit abc1234.*Some CPU, 2 cores, 2600 MHz, 16\.0 GiB.*onnxruntime 1\.2\.3/);
    }
  });

  test("Markdown has the command, the chart and a table row for each result", () => {
    const text = markdownText(all, "peers.svg");
    assert.match(text, /npm run -s bench:peers -- --rounds 3/);
    assert.match(text, /!\[.*\]\(peers\.svg\)/);
    const widths = text
      .split("\n")
      .filter((line) => line.startsWith("|"))
      .map((line) => line.split("|").length);
    assert.equal(widths.length, 2 + all.results.length);
    assert.equal(new Set(widths).size, 1);
  });

  test("the chart has a bar for each metric of what was measured", () => {
    assert.deepEqual(
      bars(all).map(({ peer, metric, ms, ours }) => [peer, metric, ms, ours]),
      [
        ["kraken-engine bfloat16", "TTFT at 128", 20, true],
        ["kraken-engine bfloat16", "decode at 128", 2, true],
        ["onnxruntime float32", "TTFT at 128", 50, false],
        ["onnxruntime float32", "decode at 128", 5, false],
      ],
    );
  });
});
