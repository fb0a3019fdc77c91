/** What the machine has without our help, as the build would find it: CMake's own search, run as a script. */
import { join } from "node:path";
import { runClient } from "./install.mjs";
import { root, toolchain } from "./places.mjs";

export function foundOnMachine() {
  const script = join(root, "cmake", "find-gpu.cmake");
  const output = runClient("cmake", [`-DKRAKEN_TOOLCHAIN=${toolchain}-none`, "-P", script]);
  const found = new Map(
    output.split("\n").flatMap((line) => {
      const match = /^-- ([A-Z0-9_]+)=(.+)$/.exec(line);
      return match ? [[match[1], match[2]]] : [];
    }),
  );
  const describe = (name) => {
    const version = found.get(`${name}_VERSION`);
    return version && `${version} is installed`;
  };
  return {
    cuda: describe("KRAKEN_NVCC"),
    tensorrt: { 10: describe("KRAKEN_TENSORRT_10"), 11: describe("KRAKEN_TENSORRT_11") },
  };
}
