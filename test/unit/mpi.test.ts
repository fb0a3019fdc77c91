/** Whether a process is one of several, as MPI's launchers say it in its environment. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mpiPlace } from "../../lib/mpi.js";

const openMpi = { OMPI_COMM_WORLD_RANK: "2", OMPI_COMM_WORLD_SIZE: "4", PMIX_RANK: "2" };
const slurm = { SLURM_PROCID: "1", SLURM_NTASKS: "3", SLURM_STEP_NUM_TASKS: "3" };

test("mpirun and srun say which process of how many", () => {
  assert.deepEqual(mpiPlace(openMpi), { rank: 2, ranks: 4, trouble: "" });
  assert.deepEqual(mpiPlace({ ...slurm, PMIX_RANK: "1" }), { rank: 1, ranks: 3, trouble: "" });
  assert.deepEqual(mpiPlace({ PMI_RANK: "0", PMI_SIZE: "2", PMI_PORT: "host:1" }), {
    rank: 0,
    ranks: 2,
    trouble: "",
  });
});

test("mpirun inside of srun counts, not what it was started by", () => {
  assert.equal(mpiPlace({ ...slurm, ...openMpi })?.ranks, 4);
});

for (const [what, environment] of [
  ["nothing", {}],
  ["one process", { ...openMpi, OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "1" }],
  ["a shell inside of an allocation", { SLURM_PROCID: "0", SLURM_NTASKS: "4" }],
  ["one variable alone", { OMPI_COMM_WORLD_RANK: "1" }],
  ["another one alone", { PMIX_RANK: "1" }],
  ["a rank beyond their number", { ...openMpi, OMPI_COMM_WORLD_RANK: "4" }],
  ["what is no number", { ...openMpi, OMPI_COMM_WORLD_RANK: "-1" }],
] as const) {
  test(`${what}: no place`, () => assert.equal(mpiPlace(environment), undefined));
}

test("processes that cannot find each other are told what to do", () => {
  assert.match(mpiPlace(slurm)?.trouble ?? "", /3 processes .*SLURM_PROCID.*--mpi=pmix/);
  assert.match(mpiPlace({ PMI_RANK: "0", PMI_SIZE: "2", PMI_FD: "7" })?.trouble ?? "", /PMI_FD/);
});
