/** What a binary asks of the machine it runs on, read by readelf. */
import { runClient } from "../gpu-toolchain/install.mjs";

/** The newest glibc that a prebuilt binary may need: Debian 12, Ubuntu 22.04, RHEL 9 have it. */
export const glibc = "2.34";

const newer = (a, b) => a.localeCompare(b, "en", { numeric: true }) > 0;

/** Libraries it names, and the newest version of each family of symbols that it takes from them ("GLIBC" → "2.34"). */
export function requirementsOf(binary) {
  const dynamic = runClient("readelf", ["--dynamic", "--wide", binary]);
  const libraries = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name);
  const versions = {};
  const symbols = runClient("readelf", ["--version-info", "--wide", binary]);
  for (const [, family, version] of symbols.matchAll(/Name: ([A-Z]+)_([0-9.]+)/g)) {
    if (!versions[family] || newer(version, versions[family])) versions[family] = version;
  }
  return { libraries, versions };
}

/** Problems, in words; none for a binary that runs wherever `glibc` is and the libraries in `bundled` lie beside it. */
export function portabilityProblems(binary, bundled) {
  const { libraries, versions } = requirementsOf(binary);
  // Node itself needs these.
  const system = /^(lib(c|m|dl|pthread|rt)\.so\.\d+|libgcc_s\.so\.1|ld-linux-x86-64\.so\.2)$/;
  const problems = libraries
    .filter((name) => !system.test(name) && !bundled.includes(name))
    .map((name) => `it needs ${name}, which is not bundled`);
  if (versions.GLIBC && newer(versions.GLIBC, glibc)) {
    problems.push(`it needs glibc ${versions.GLIBC}, more than ${glibc}`);
  }
  if (versions.GLIBCXX) problems.push(`it takes symbols of libstdc++ ${versions.GLIBCXX}`);
  return problems;
}
