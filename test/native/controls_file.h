// The controls of a fake engine and its sizes, where another process finds them too: ExecutorOptions of an
// engine whose "directory" is a file that both map, and whose model is the configuration's numbers.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <string>

#include "backend/tensorrt/build_plans.h"
#include "base/descriptor.h"
#include "fake_backend.h"

namespace kraken::fake {

inline std::shared_ptr<Controls> map_controls(int fd) {
  void* memory = mmap(nullptr, sizeof(Controls), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  KRAKEN_CHECK(memory != MAP_FAILED);
  return {static_cast<Controls*>(memory), [](Controls* controls) { munmap(controls, sizeof(Controls)); }};
}

// Removed with its owner.
class ControlsFile {
 public:
  ControlsFile() : path_(std::string(temporary_directory()) + "/kraken-controls-XXXXXX") {
    const Descriptor file(mkstemp(path_.data()));
    KRAKEN_CHECK(file.get() >= 0 && ftruncate(file.get(), sizeof(Controls)) == 0);
    controls = map_controls(file.get());
    new (controls.get()) Controls;
  }
  ~ControlsFile() { unlink(path_.c_str()); }

  ExecutorOptions options(int ranks, const LocalExecutorConfig& config) const {
    ExecutorOptions options;
    options.directory = path_;
    options.ranks = ranks;
    options.max_queue = config.max_queue;
    options.profile = config.profile;
    options.prefix_reuse = config.prefix_reuse;
    options.model_config = nlohmann::json({config.vocab, config.kv_blocks, config.kv_block_tokens,
                                           config.max_batch_size, config.max_sequence_length,
                                           config.max_step_tokens, config.prefill_chunk, config.max_rows})
                               .dump();
    return options;
  }

  std::shared_ptr<Controls> controls;

 private:
  static const char* temporary_directory() {
    const char* named = std::getenv("TMPDIR");
    return named != nullptr ? named : "/tmp";
  }
  std::string path_;
};

// The other side: an ExecutorLoader.
inline std::unique_ptr<Executor> load_fake_engine(const ExecutorOptions& options, ResponseSink sink,
                                                  const std::atomic<bool>* cancelled,
                                                  QueueObserver observer) {
  const Descriptor file(open(options.directory.c_str(), O_RDWR | O_CLOEXEC));
  if (file.get() < 0) throw Error("ERR_ENGINE_PATH", "there is no " + options.directory);
  const auto numbers = nlohmann::json::parse(options.model_config).get<std::vector<int32_t>>();
  KRAKEN_CHECK(numbers.size() == 8);
  LocalExecutorConfig config;
  config.vocab = numbers[0];
  config.kv_blocks = numbers[1];
  config.kv_block_tokens = numbers[2];
  config.max_batch_size = numbers[3];
  config.max_sequence_length = numbers[4];
  config.max_step_tokens = numbers[5];
  config.prefill_chunk = numbers[6];
  config.max_rows = numbers[7];
  config.max_queue = options.max_queue;
  config.profile = options.profile;
  config.prefix_reuse = options.prefix_reuse;
  auto factories = Model::factories(options.ranks, config, map_controls(file.get()), cancelled);
  return std::make_unique<LocalExecutor>(config, std::move(factories), std::move(sink), std::move(observer));
}

// And a PlanBuilder: takes `load_milliseconds`, reporting as it goes, then fails as rank `fail_load_rank`
// would or gives what it was asked for.
inline std::string build_fake_plans(const PlanOptions& options, const PlanProgress& progress) {
  const Descriptor file(open(options.directory.c_str(), O_RDWR | O_CLOEXEC));
  if (file.get() < 0) throw Error("ERR_ENGINE_PATH", "there is no " + options.directory);
  const std::shared_ptr<Controls> controls = map_controls(file.get());
  const int milliseconds = controls->load_milliseconds;
  for (int ms = 0; ms < milliseconds; ++ms) {
    if (!progress(static_cast<double>(ms) / milliseconds))
      throw Error("ERR_ABORTED", "the build was cancelled");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (controls->fail_load_rank >= 0) fail(controls->failure);
  return nlohmann::json(
             {{"ranks", options.ranks}, {"maxRows", options.max_rows}, {"timings", options.timings}})
      .dump();
}

}  // namespace kraken::fake
