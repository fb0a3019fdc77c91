/** The command under Open MPI's mpirun on two hosts with a network between them: `npm run test:hosts`. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildTiny } from "../helpers/child.js";
import { allGone, processes } from "../helpers/marked-processes.js";
import { kraken, refusalOf, start, withoutMpi } from "../helpers/mpi.js";
import { Namespaces } from "../helpers/namespaces.js";

let root: string;
let engine: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "kraken-test-hosts-mpi-"));
  engine = join(root, "tiny");
  await buildTiny(engine);
});
after(() => rm(root, { recursive: true, force: true }));

describe("two hosts under mpirun", { skip: withoutMpi() }, () => {
  const generate = (...args: string[]) =>
    kraken(
      "generate",
      engine,
      "--tokens",
      "1,2,3",
      "--ignore-eos",
      "--threads-per-rank",
      "1",
      "--json",
      ...args,
    );

  test("generate what one does", async () => {
    using net = new Namespaces({ count: 2 });
    const args = ["--max-tokens", "20", "--temperature", "0"];
    const [alone, together] = [
      await start(generate(...args)).ended,
      await start(net.mpirun(...generate(...args))).ended,
    ];
    const tokensOf = ({ stdout }: { stdout: string }) => (JSON.parse(stdout) as { tokens: number[] }).tokens;
    assert.equal(together.code, 0, together.stderr);
    assert.deepEqual(tokensOf(together), tokensOf(alone));
  });

  test("a host whose interface goes down is an error within two seconds, and no rank stays", async (t) => {
    using net = new Namespaces({ count: 2 });
    const command = start(net.mpirun(...generate("--n", "128", "--max-batch-size", "1")));
    await command.loaded();
    await sleep(300);
    net.down(1);
    const from = performance.now();
    await command.printed;
    const took = performance.now() - from;
    t.diagnostic(`${took.toFixed(0)} ms after the interface went down`);
    assert.ok(took < 2000, `${took} ms`);
    const ranks = () => processes(command.mark).filter((one) => one.command.includes("kraken-worker"));
    for (const until = performance.now() + 4000; ranks().length > 0 && performance.now() < until; ) {
      await sleep(20);
    }
    assert.deepEqual(ranks(), []);
    net.up(1); // mpirun waits for its daemon there, for longer than anybody would
    const error = refusalOf(await command.ended);
    assert.equal(error.code, "ERR_RANK_LOST");
    assert.match(error.message, /rank 1 \(.*no sign of life/);
    await allGone(command.mark, 5000);
  });
});
