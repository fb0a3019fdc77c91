// kraken-worker-mpi: one of the processes that mpirun or srun started, as long as the command lives that they
// run. It is apart from Node, which MPI could end, and from kraken-worker, which needs no MPI. Rank 0 serves
// its engines to whoever connects to a socket whose name it prints; the others are its engines' ranks.
#pragma once

namespace kraken {

// Exit codes: 0, standard input of rank 0 has ended, and all left; 1, not started as it should be; 2, a rank
// was lost.
int mpi_worker_main(int argc, char** argv);

}  // namespace kraken
