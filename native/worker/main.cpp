// The executable kraken-worker: all ranks of an engine beside Node, or one rank on another host.
#include <string>

#include "hosts/hosted_executor.h"
#include "hosts/remote_rank.h"
#include "worker/worker_main.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--rank") return kraken::remote_rank_main(argc, argv);
  return kraken::worker_main(argc, argv, kraken::make_executor);
}
