/** The command under mpirun: every process runs the same command line, and the ranks of its engines are they. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildEngine } from "../../lib/index.js";
import { buildTiny } from "../helpers/child.js";
import { allGone } from "../helpers/marked-processes.js";
import { type Ended, kraken, mpirun, refusalOf, start, withoutMpi } from "../helpers/mpi.js";

const skip = withoutMpi();

let work: string;
before(async () => {
  work = await mkdtemp(join(tmpdir(), "kraken-mpi-"));
  if (skip) return;
  await buildTiny(join(work, "two"));
  await buildEngine({ random: "kraken-tiny-4way", output: join(work, "four"), ranks: 4, dtype: "float32" });
});
after(() => rm(work, { recursive: true, force: true }));

async function run(command: string[], env?: Record<string, string>): Promise<Ended> {
  const { ended, mark } = start(command, env);
  const result = await ended;
  await allGone(mark, 3000);
  return result;
}

const generation = [
  "--tokens",
  "1,2,3",
  "--max-tokens",
  "20",
  "--temperature",
  "0",
  "--ignore-eos",
  "--json",
];

function tokensOf({ code, stdout, stderr }: Ended): number[] {
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { tokens: number[] }).tokens;
}

describe("under mpirun", { skip }, () => {
  for (const [name, ranks] of [
    ["two", 2],
    ["four", 4],
  ] as const) {
    test(`${ranks} processes generate what one does`, async () => {
      const args = ["generate", join(work, name), "--threads-per-rank", "1", ...generation];
      const [alone, together] = [await run(kraken(...args)), await run(mpirun(ranks, ...args))];
      assert.deepEqual(tokensOf(together), tokensOf(alone));
    });
  }

  test("sums travel in the type that was asked for: the same numbers as over TCP", async () => {
    const engine = join(work, "bfloat16");
    await buildEngine({ random: "kraken-tiny-2way", output: engine, ranks: 2, dtype: "bfloat16" });
    const args = ["score", engine, "--tokens", "1,2,3,4,5,6", "--threads-per-rank", "1", "--json"];
    const scores = async (command: string[]) => {
      const { code, stdout, stderr } = await run(command);
      assert.equal(code, 0, stderr);
      return (JSON.parse(stdout) as { logprobs: (number | null)[] }).logprobs;
    };
    const seen = [];
    for (const type of ["bfloat16", "float32"]) {
      const given = [...args, "--exchange-dtype", type];
      const overTcp = await scores(kraken(...given, "--hosts", "localhost,localhost"));
      assert.deepEqual(await scores(mpirun(2, ...given)), overTcp, type);
      seen.push(overTcp);
    }
    assert.notDeepEqual(seen[0], seen[1]);
    assert.deepEqual(await scores(mpirun(2, ...args)), seen[0]); // unless asked, the engine's
  });

  test("several engines share the ranks, and are checked and timed", async () => {
    const args = [
      "--context",
      "16",
      "--repeat",
      "2",
      "--max-repeat",
      "2",
      "--warmup",
      "0",
      "--dtype",
      "float32",
    ];
    const models = ["--models", "kraken-tiny-2way", "--json"];
    const { code, stdout, stderr } = await run(mpirun(2, "bench", "ttft", ...models, ...args));
    assert.equal(code, 0, stderr);
    const record = JSON.parse(stdout) as { settings: { mpi: string; ranks: number[] } };
    assert.deepEqual(record.settings.ranks, [2]);
    assert.equal(record.settings.mpi.split(",").length, 2);
  });

  for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
    test(`${signal} of a rank fails what it served within two seconds, and nothing stays`, async () => {
      const prompts = ["--tokens", "1", "--ignore-eos", "--n", "128", "--max-batch-size", "1", "--json"];
      const { ended, mark, pidOf, printed, loaded } = start(
        mpirun(2, "generate", join(work, "two"), ...prompts),
      );
      await loaded();
      const victim = pidOf(1, "kraken-worker-mpi")!;
      await sleep(300);
      process.kill(victim, signal);
      const from = performance.now();
      await printed;
      assert.ok(performance.now() - from < 2000, `${performance.now() - from} ms`);
      const end = await ended;
      assert.notEqual(end.code, 0);
      const error = refusalOf(end);
      assert.equal(error.code, "ERR_RANK_LOST", end.stderr);
      assert.match(error.message, /rank 1 \(/);
      await allGone(mark, 3000);
    });
  }

  test("serve answers, and SIGTERM of mpirun ends everything", async () => {
    const serving = start(mpirun(2, "serve", join(work, "two"), "--port", "0", "--json"));
    let url: string | undefined;
    for await (const line of createInterface({ input: serving.child.stdout })) {
      url = /"url": ?"([^"]+)"/.exec(line)?.[1];
      if (url !== undefined) break;
    }
    assert.ok(url, "it served nothing");
    serving.child.stdout.resume();
    const answer = await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "two", prompt: [1, 2, 3], max_tokens: 4, temperature: 0 }),
    });
    assert.equal(answer.status, 200, await answer.text());
    serving.child.kill("SIGTERM");
    await serving.ended;
    await allGone(serving.mark, 5000);
  });

  test("what loads no engine runs once", async () => {
    const { code, stdout } = await run(mpirun(3, "inspect", join(work, "two"), "--json"));
    assert.equal(code, 0);
    JSON.parse(stdout); // one document
  });

  const refusals: [string, string[], Record<string, string>, string, RegExp][] = [
    [
      "more processes than ranks",
      mpirun(3, "generate", join("WORK", "two"), ...generation),
      {},
      "ERR_RANKS",
      /3 processes were started, but .*two has 2 ranks: start 2, or build with --ranks 3/,
    ],
    [
      "hosts, too",
      mpirun(2, "generate", join("WORK", "two"), "--hosts", "a,b", ...generation),
      {},
      "ERR_OPTION",
      /--hosts.* and mpirun \(or srun\) both say where ranks run/,
    ],
    [
      "a build without MPI",
      mpirun(2, "generate", join("WORK", "two"), ...generation),
      { KRAKEN_MPI_WORKER: "/nonexistent" },
      "ERR_HOSTS",
      /has no kraken-worker-mpi.*install an MPI.*--hosts/s,
    ],
    [
      "srun without PMI",
      kraken("generate", join("WORK", "two"), ...generation),
      { SLURM_PROCID: "0", SLURM_STEP_NUM_TASKS: "2" },
      "ERR_HOSTS",
      /2 processes were started that cannot find each other through MPI.*--mpi=pmix/,
    ],
  ];
  for (const [what, command, env, code, message] of refusals) {
    test(`${what}: ${code}`, async () => {
      const ended = await run(
        command.map((word) => word.replace("WORK", work)),
        env,
      );
      assert.notEqual(ended.code, 0);
      const error = refusalOf(ended);
      assert.equal(error.code, code);
      assert.match(error.message, message);
    });
  }
});
