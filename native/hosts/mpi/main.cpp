// The executable kraken-worker-mpi.
#include "hosts/mpi/mpi_worker.h"

int main(int argc, char** argv) {
  return kraken::mpi_worker_main(argc, argv);
}
