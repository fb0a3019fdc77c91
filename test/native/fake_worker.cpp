// kraken-worker over the fake model: what the tests of WorkerExecutor start.
#include "controls_file.h"
#include "worker/worker_main.h"

int main(int argc, char** argv) {
  return kraken::worker_main(argc, argv, kraken::fake::load_fake_engine, kraken::fake::build_fake_plans);
}
