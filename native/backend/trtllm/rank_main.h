// What every process does that mpirun starts for an engine of backend "tensorrt-llm". Rank 0 connects to
// whoever waits for it and serves; the others do as it says. All agree before any of them constructs
// TensorRT-LLM's Executor, whose failures would leave the rest in a collective.
#pragma once

namespace kraken::trtllm {

// Exit codes: 0, the engine was closed; 1, not started as it should be; 2, a rank failed (launcher.h's
// fatal_line says why).
int rank_main(int argc, char** argv);

}  // namespace kraken::trtllm
