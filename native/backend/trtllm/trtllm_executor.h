// TensorRT-LLM's Executor as one of ours: what rank 0 serves to Node. One thread waits for its responses and
// passes them on; every call of the interface returns at once.
#pragma once

#include <tensorrt_llm/executor/executor.h>

#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "backend/trtllm/engine_config.h"
#include "backend/trtllm/plugin_library.h"
#include "backend/trtllm/response_mapping.h"
#include "runtime/executor.h"

namespace kraken::trtllm {

// What every rank constructs, rank 0 and the others alike. Order is destruction order: plugins outlive the
// engine.
struct RankEngine {
  // All ranks call it with the same options. Throws what opening the plugins does; ERR_ENGINE_CORRUPT,
  // ERR_OUT_OF_MEMORY or ERR_INTERNAL for what TensorRT-LLM throws.
  RankEngine(const ExecutorOptions& options, const EngineConfig& engine, MpiWorld& world);

  std::unique_ptr<PluginLibrary> plugins;
  std::unique_ptr<tensorrt_llm::executor::Executor> executor;
};

class TrtLlmExecutor final : public Executor {
 public:
  TrtLlmExecutor(std::unique_ptr<RankEngine> engine, EngineConfig config, const ExecutorOptions& options,
                 ResponseSink sink, QueueObserver observer);
  ~TrtLlmExecutor() override { shutdown(); }

  RequestId enqueue(Request request) override;
  void cancel(RequestId id) override;
  ExecutorStats stats() override;
  RequestLimits limits() const override { return limits_; }
  void shutdown() override;

 private:
  using TheirId = tensorrt_llm::executor::IdType;
  struct Pending {
    std::vector<TheirId> ids;  // of its samples that run
    bool cancelled = false, left_queue = false;
  };
  struct Sample {
    RequestId request;
    SampleResponses responses;
  };

  void run() noexcept;
  void receive(const std::vector<tensorrt_llm::executor::Response>& responses);
  void count(const Response& last);  // mutex_ held
  void keep_statistics();
  void fail(const std::string& code, const std::string& message);
  void end_all(FinishReason finish, const std::string& code, const std::string& message);

  const EngineConfig config_;
  const ResponseSink sink_;
  const QueueObserver observer_;
  const RequestLimits limits_;
  const int32_t max_queue_;

  std::mutex mutex_;  // guards what follows
  bool stopping_ = false, finished_ = false;
  std::string closed_code_, closed_message_;
  RequestId last_id_ = 0;
  int32_t queued_ = 0;
  std::unordered_map<RequestId, Pending> pending_;
  std::unordered_map<TheirId, Sample> samples_;
  ExecutorStats stats_;

  std::mutex shutdown_mutex_;
  std::unique_ptr<RankEngine> engine_;
  std::thread thread_;
};

}  // namespace kraken::trtllm
