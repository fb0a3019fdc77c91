#include "weights/build.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/error.h"
#include "model/graph.h"
#include "weights/rank_writer.h"
#include "weights/tensor_source.h"

namespace kraken {

void build_rank_files(const BuildOptions& options, const BuildProgress& progress) {
  const ModelConfig config = parse_model_config(options.config_json);
  std::vector<Graph> graphs;
  uint64_t total = 0;
  for (int rank = 0; rank < options.ranks; ++rank) {
    graphs.push_back(build_graph(config, {rank, options.ranks, true}));
    total += rank_bytes(graphs.back(), options.dtype);
  }
  TensorSources sources;
  try {
    sources = TensorSources::parse(options.tensors_json);
  } catch (const nlohmann::json::exception& error) {
    throw Error("ERR_INTERNAL", std::string("tensor views: ") + error.what());
  }

  std::mutex mutex;  // guards written, failure and calls of progress
  uint64_t written = 0;
  std::exception_ptr failure;
  std::atomic<int> next{0};
  const auto advance = [&](uint64_t bytes) {
    const std::lock_guard lock(mutex);
    written += bytes;
    if (failure) throw Error("ERR_ABORTED", "another rank's file failed");
    if (progress && !progress(written, total)) throw Error("ERR_ABORTED", "the build was cancelled");
  };
  const auto work = [&] {
    for (int rank = next++; rank < options.ranks; rank = next++) {
      try {
        write_rank_file(graphs[static_cast<size_t>(rank)], sources, options.dtype,
                        options.directory + "/rank" + std::to_string(rank) + "." + options.extension,
                        advance);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        return;
      }
    }
  };
  const auto cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::jthread> threads;
  for (int i = 1; i < std::min(cores, options.ranks); ++i) threads.emplace_back(work);
  work();
  threads.clear();  // joins
  if (failure) std::rethrow_exception(failure);
}

}  // namespace kraken
