/**
 * A rank that knows the secret and says something else of itself than it should: --rank N --connect HOST:PORT --build B.
 * Written from the protocol's description, with Node's own HMAC, so it checks ours as well.
 */
import { createHmac, randomBytes } from "node:crypto";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { rank: { type: "string" }, connect: { type: "string" }, build: { type: "string" } },
});
const [secret] = await new Promise((resolve) =>
  createInterface({ input: process.stdin }).once("line", (line) => resolve([line])),
);

const greeting = Buffer.from("kraken-hosts 1\n");
const [connects, accepts] = [Buffer.of(1), Buffer.of(2)];
const prove = (role, own, other, identity) =>
  createHmac("sha256", secret)
    .update(Buffer.concat([greeting, role, own, other, identity]))
    .digest();

function identity() {
  const build = Buffer.from(values.build);
  const head = Buffer.alloc(12);
  head.writeUInt32LE(0x4e4b524b, 0);
  head.writeUInt32LE(1, 4);
  head.writeUInt32LE(build.length, 8);
  const tail = Buffer.alloc(8);
  tail.writeInt32LE(Number(values.rank), 0);
  tail.writeUInt32LE(1, 4);
  return Buffer.concat([head, build, tail]);
}

const [, host, port] = /^(.*):(\d+)$/.exec(values.connect);
const socket = connect(Number(port), host);
const send = (bytes) => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes.length);
  socket.write(Buffer.concat([size, bytes]));
};
let received = Buffer.alloc(0);
const messages = (async function* () {
  for await (const chunk of socket) {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 4 && received.length >= 4 + received.readUInt32LE(0)) {
      const size = received.readUInt32LE(0);
      const message = received.subarray(4, 4 + size);
      received = received.subarray(4 + size);
      yield message;
    }
  }
})();

const nonce = randomBytes(32);
send(Buffer.concat([greeting, nonce]));
const theirs = (await messages.next()).value.subarray(greeting.length);
const own = identity();
send(Buffer.concat([prove(connects, nonce, theirs, own), own]));
const answer = (await messages.next()).value;
const proven = prove(accepts, theirs, nonce, answer.subarray(32));
if (!answer.subarray(0, 32).equals(proven)) throw new Error("rank 0's proof is wrong");
await messages.next();
