// The executable kraken-worker-trtllm: one rank of an engine that TensorRT-LLM runs.
#include "backend/trtllm/rank_main.h"

int main(int argc, char** argv) {
  return kraken::trtllm::rank_main(argc, argv);
}
