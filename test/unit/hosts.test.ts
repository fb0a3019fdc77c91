/** How hosts are written. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseHosts } from "../../lib/hosts.js";

describe("hosts", () => {
  test("name the host of each rank", () => {
    const byRank = (hosts: string | string[]) => parseHosts({ hosts })?.byRank;
    assert.deepEqual(byRank("a"), ["a"]);
    assert.deepEqual(byRank("a:2, b:1,c"), ["a", "a", "b", "c"]);
    assert.deepEqual(byRank(["10.0.0.1:1", "node-2.cluster:2"]), [
      "10.0.0.1",
      "node-2.cluster",
      "node-2.cluster",
    ]);
    assert.deepEqual(byRank("[fe80::1%eth0]:2,[::1]"), ["fe80::1%eth0", "fe80::1%eth0", "::1"]);
    assert.equal(parseHosts({}), undefined);
  });

  test("have defaults", () => {
    const hosts = parseHosts({ hosts: "a,b", secret: "" });
    assert.deepEqual(hosts, { byRank: ["a", "b"], launchAgent: [], secret: "", startSeconds: 20 });
  });

  test("are checked before anything is started", () => {
    const wrong: [object, RegExp][] = [
      [{ hosts: "" }, /`hosts` must be hosts and how many ranks/],
      [{ hosts: [] }, /`hosts` must be/],
      [{ hosts: "a:0" }, /`hosts` must be/],
      [{ hosts: "a:x" }, /`hosts` must be/],
      [{ hosts: "a b:1" }, /`hosts` must be/],
      [{ hosts: "-oProxyCommand=evil:1" }, /`hosts` must be/],
      [{ hosts: "fe80::1" }, /`hosts` must be/],
      [{ hosts: "a:1000,b:1000" }, /at most 1024 ranks/],
      [{ hosts: 3 }, /`hosts` must be/],
      [{ hosts: "a,b", launchAgent: "" }, /`launchAgent` must be a command/],
      [{ hosts: "a,b", launchAgent: [1] }, /`launchAgent` must be a command/],
      [{ hosts: "a,b", secret: "short" }, /`secret` must be a line of at least 16/],
      [{ hosts: "a,b", secret: "two lines of\na secret" }, /`secret` must be a line/],
      [{ hosts: "a,b", startTimeout: 0 }, /`startTimeout` must be a number of seconds/],
      [{ launchAgent: "ssh" }, /`launchAgent` is of use only with `hosts`/],
    ];
    for (const [options, message] of wrong) {
      assert.throws(() => parseHosts(options), { code: "ERR_OPTION", message }, JSON.stringify(options));
    }
  });
});
