// The executable kraken-worker.
#include "worker/worker_main.h"

int main(int argc, char** argv) {
  return kraken::worker_main(argc, argv, kraken::make_local_executor);
}
