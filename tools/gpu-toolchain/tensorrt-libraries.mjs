/**
 * The TensorRT libraries that tests open: of a jar of half a gigabyte, or of a wheel, one file is kept. NVIDIA's licence
 * covers it, so it is fetched where it is needed and never handed on.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import {
  installInto,
  installWheels,
  isInstalled,
  runClient,
  ToolchainError,
  verifyChecksum,
} from "./install.mjs";
import { librariesDirectory, libraryPath, manifest } from "./places.mjs";

const copyGoal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";
const unpackOne = `
import shutil, sys, zipfile
jar, name, target = sys.argv[1:]
with zipfile.ZipFile(jar) as archive:
    [member] = [m for m in archive.namelist() if m.endswith("/" + name)]
    with archive.open(member) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
`;

async function takeFromJar(entry, target, library) {
  // A repository of our own: the jar must not stay in the user's.
  const repository = join(target, "maven");
  const jars = join(target, "jars");
  const options = [`-Dmaven.repo.local=${repository}`, `-Dartifact=${entry.artifact}`];
  runClient("mvn", ["-B", "-q", copyGoal, ...options, `-DoutputDirectory=${jars}`], { cwd: target });
  const [jar] = existsSync(jars) ? readdirSync(jars) : [];
  if (!jar) throw new ToolchainError(`mvn copied nothing for ${entry.artifact}`);
  rmSync(repository, { recursive: true });
  await verifyChecksum(join(jars, jar), entry.sha256, jar);
  runClient("python3", ["-c", unpackOne, join(jars, jar), entry.library, library]);
  rmSync(jars, { recursive: true });
}

function takeFromWheel(entry, target, library) {
  const wheel = join(target, "wheel");
  mkdirSync(wheel);
  installWheels(wheel, entry.wheels);
  const inside = readdirSync(wheel, { recursive: true }).find((path) => basename(path) === entry.library);
  if (!inside) throw new ToolchainError(`the wheel holds no ${entry.library}`);
  renameSync(join(wheel, inside), library);
  rmSync(wheel, { recursive: true });
}

export const tensorrtLibraries = (major) => {
  const entry = manifest.tensorrtLibraries[major];
  const directory = librariesDirectory(major);
  return {
    title: `TensorRT ${entry.release} library`,
    directory,
    entry,
    installed: () => isInstalled(directory, entry) && existsSync(libraryPath(major)),
    install: () =>
      installInto(directory, entry, async (target) => {
        mkdirSync(join(target, "lib"));
        const library = join(target, "lib", entry.library);
        await (entry.wheels ? takeFromWheel : takeFromJar)(entry, target, library);
      }),
  };
};
