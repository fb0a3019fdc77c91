/**
 * `kraken bench ttft` on two hosts that are network namespaces of this machine, each pinned to a core of its own, over
 * links of several rates (tc's token bucket), and the table of docs/multi-host.md:
 *
 *     npm run -s bench:hosts -- --rates 1gbit,10gbit -- --context 128,1024 --max-seconds 60
 *
 * What follows the second `--` goes to `kraken bench ttft`. With --communicators tcp,mpi each rate is measured over both,
 * the second under Open MPI's mpirun. Needs root and iproute2.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { analyse, type Entry } from "../lib/bench/analysis.js";
import { readBench } from "../lib/bench/resume.js";
import { Namespaces, withoutNamespaces } from "../test/helpers/namespaces.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values, positionals } = parseArgs({
  options: {
    rates: { type: "string", default: "1gbit,10gbit" },
    communicators: { type: "string", default: "tcp" },
    /** Where the JSON of each rate goes. */
    output: { type: "string", default: join(tmpdir(), "kraken-bench-hosts") },
  },
  allowPositionals: true,
});

const output = resolve(values.output);
const communicators = values.communicators.split(",");
const several = communicators.length > 1;
const why = withoutNamespaces();
if (why !== undefined) {
  console.error(`bench:hosts: ${why}`);
  process.exit(1);
}

function measure(rate: string, communicator: string): string {
  using net = new Namespaces({ count: 2, rate, pinned: true });
  const file = join(output, `hosts-${rate}-${communicator}.json`);
  const hosts = ["--hosts", net.addresses.join(","), "--launch-agent", net.agent];
  const bench = (...given: string[]) => [
    ...[process.execPath, "--import", "tsx", "lib/cli/main.ts", "bench", "ttft"],
    ...[...given, "--json", file, ...positionals],
  ];
  const [command, ...args] =
    communicator === "mpi" ? net.mpirun(...bench()) : [...net.on(0), ...bench(...hosts)];
  const { status } = spawnSync(command!, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) process.exit(status ?? 1);
  return file;
}

const ms = (value: number | undefined) => (value === undefined ? "–" : `${value.toPrecision(3)} ms`);

const factor = (value: number) => value.toFixed(2);

function row(
  rate: string,
  communicator: string,
  context: number,
  { label, main, bound, shareOfBound, oneRank }: Entry,
): string[] {
  const speedUp = main?.speedUp;
  return [
    rate.replace("gbit", " Gbit/s"),
    ...(several ? [communicator.toUpperCase()] : []),
    String(context),
    label,
    ms(main?.time.median),
    ms(bound?.time.median),
    shareOfBound === null ? "–" : `${(100 * shareOfBound).toFixed(0)} %`,
    speedUp ? `${factor(speedUp.estimate)} (${factor(speedUp.low)} … ${factor(speedUp.high)})` : "–",
    ms(main?.perLayer?.collectiveMs),
    ms(main?.perLayer?.exposedMs),
    ms(oneRank?.time.median),
  ];
}

mkdirSync(output, { recursive: true });
const header =
  `link|${several ? "communicator|" : ""}tokens||TTFT|no comm.|of bound|times faster than standard|all-reduce/layer|waited/layer|one host alone`.split(
    "|",
  );
const texts = header.indexOf("") + 1;
const lines = [header, header.map((_, i) => (i < texts ? "---" : "--:"))];
for (const rate of values.rates.split(",")) {
  for (const communicator of communicators) {
    const record = await readBench(measure(rate, communicator));
    for (const { cell, entries } of analyse(record).results) {
      for (const entry of entries) lines.push(row(rate, communicator, cell.context, entry));
    }
  }
}
console.log(lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n"));
