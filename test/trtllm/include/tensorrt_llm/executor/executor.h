// The executor: requests in, responses out, on all ranks of an MPI world. See types.h for what these headers
// are. Leader mode alone: every rank builds an Executor, rank 0 enqueues, and shutdown() of the others
// returns once rank 0's has been called.
#pragma once

#include <chrono>
#include <deque>
#include <filesystem>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tensorrt_llm/executor/tensor.h"
#include "tensorrt_llm/executor/types.h"

namespace tensorrt_llm::executor {

const char* version() noexcept;

class SamplingConfig {
 public:
  explicit SamplingConfig(SizeType32 beamWidth = 1) : beamWidth_(beamWidth) {}

#define KRAKEN_DOUBLE_OPTION(Type, Name)             \
  std::optional<Type> get##Name() const {            \
    return Name##_;                                  \
  }                                                  \
  void set##Name(const std::optional<Type>& value) { \
    Name##_ = value;                                 \
  }                                                  \
                                                     \
 private:                                            \
  std::optional<Type> Name##_;                       \
                                                     \
 public:
  KRAKEN_DOUBLE_OPTION(SizeType32, TopK)
  KRAKEN_DOUBLE_OPTION(FloatType, TopP)
  KRAKEN_DOUBLE_OPTION(FloatType, MinP)
  KRAKEN_DOUBLE_OPTION(FloatType, Temperature)
  KRAKEN_DOUBLE_OPTION(RandomSeedType, Seed)
  KRAKEN_DOUBLE_OPTION(SizeType32, MinTokens)
  KRAKEN_DOUBLE_OPTION(FloatType, RepetitionPenalty)
  KRAKEN_DOUBLE_OPTION(FloatType, PresencePenalty)
  KRAKEN_DOUBLE_OPTION(FloatType, FrequencyPenalty)
#undef KRAKEN_DOUBLE_OPTION
  SizeType32 getBeamWidth() const {
    return beamWidth_;
  }

 private:
  SizeType32 beamWidth_;
};

struct OutputConfig {
  bool returnLogProbs = false;
  bool returnContextLogits = false;
  bool returnGenerationLogits = false;
  bool excludeInputFromOutput = false;
  bool returnEncoderOutput = false;
  bool returnPerfMetrics = false;
};

class Request {
 public:
  Request(VecTokens inputTokenIds, SizeType32 maxTokens, bool streaming = false,
          const SamplingConfig& samplingConfig = SamplingConfig(),
          const OutputConfig& outputConfig = OutputConfig());

  VecTokens getInputTokenIds() const { return inputTokenIds_; }
  SizeType32 getMaxTokens() const { return maxTokens_; }
  bool getStreaming() const { return streaming_; }
  SamplingConfig getSamplingConfig() const { return samplingConfig_; }
  OutputConfig getOutputConfig() const { return outputConfig_; }
  std::optional<SizeType32> getEndId() const { return endId_; }
  std::optional<std::list<VecTokens>> getStopWords() const { return stopWords_; }
  std::optional<Tensor> getEmbeddingBias() const { return embeddingBias_; }
  bool getReturnAllGeneratedTokens() const { return returnAllGeneratedTokens_; }

  void setEndId(SizeType32 endId) { endId_ = endId; }
  void setStopWords(const std::list<VecTokens>& stopWords) { stopWords_ = stopWords; }
  void setEmbeddingBias(const Tensor& embeddingBias) { embeddingBias_ = embeddingBias; }
  void setReturnAllGeneratedTokens(bool all) { returnAllGeneratedTokens_ = all; }

 private:
  VecTokens inputTokenIds_;
  SizeType32 maxTokens_;
  bool streaming_;
  SamplingConfig samplingConfig_;
  OutputConfig outputConfig_;
  std::optional<SizeType32> endId_;                // a token that ends the output and is not part of it
  std::optional<std::list<VecTokens>> stopWords_;  // words that end the output as its last tokens
  std::optional<Tensor> embeddingBias_;            // [vocabulary, padded], of the logits' type
  bool returnAllGeneratedTokens_ = false;
};

struct Result {
  bool isFinal = false;
  BeamTokens outputTokenIds;  // [beam][token]; while streaming, those that are new
  std::optional<VecLogProbs> cumLogProbs;
  std::optional<std::vector<VecLogProbs>> logProbs;  // [beam][token], after the sampling parameters
  std::optional<Tensor> contextLogits;               // [prompt, padded vocabulary]
  std::optional<Tensor> generationLogits;            // streaming: [1, beam, padded vocabulary]
  std::vector<FinishReason> finishReasons;           // [beam]
  SizeType32 sequenceIndex = 0;
  bool isSequenceFinal = false;
  std::optional<RequestPerfMetrics> requestPerfMetrics;
};

class Response {
 public:
  Response(IdType requestId, std::string errorMsg);
  Response(IdType requestId, Result result);
  ~Response();
  Response(const Response&);
  Response(Response&&) noexcept;

  IdType getRequestId() const;
  bool hasError() const;
  const std::string& getErrorMsg() const;  // throws unless hasError()
  const Result& getResult() const;         // throws if hasError()

 private:
  class Impl;
  std::unique_ptr<Impl> mImpl;
};

class KvCacheConfig {
 public:
  bool getEnableBlockReuse() const { return enableBlockReuse_; }
  std::optional<SizeType32> getMaxTokens() const { return maxTokens_; }
  std::optional<FloatType> getFreeGpuMemoryFraction() const { return freeGpuMemoryFraction_; }
  void setEnableBlockReuse(bool reuse) { enableBlockReuse_ = reuse; }
  void setMaxTokens(std::optional<SizeType32> tokens) { maxTokens_ = tokens; }
  void setFreeGpuMemoryFraction(FloatType fraction) { freeGpuMemoryFraction_ = fraction; }

 private:
  bool enableBlockReuse_ = true;
  std::optional<SizeType32> maxTokens_;
  std::optional<FloatType> freeGpuMemoryFraction_;
};

// For ranks that an orchestrator's process spawns; the double refuses the mode.
class OrchestratorConfig {
 public:
  explicit OrchestratorConfig(bool isOrchestrator = true, std::string workerExecutablePath = "")
      : isOrchestrator_(isOrchestrator), workerExecutablePath_(std::move(workerExecutablePath)) {}
  bool getIsOrchestrator() const { return isOrchestrator_; }
  std::string getWorkerExecutablePath() const { return workerExecutablePath_; }

 private:
  bool isOrchestrator_;
  std::string workerExecutablePath_;
};

class ParallelConfig {
 public:
  explicit ParallelConfig(CommunicationType commType = CommunicationType::kMPI,
                          CommunicationMode commMode = CommunicationMode::kLEADER)
      : commType_(commType), commMode_(commMode) {}
  CommunicationType getCommunicationType() const { return commType_; }
  CommunicationMode getCommunicationMode() const { return commMode_; }
  std::optional<std::vector<SizeType32>> getDeviceIds() const { return deviceIds_; }
  std::optional<std::vector<SizeType32>> getParticipantIds() const { return participantIds_; }
  std::optional<OrchestratorConfig> getOrchestratorConfig() const { return orchestratorConfig_; }
  void setDeviceIds(const std::vector<SizeType32>& ids) { deviceIds_ = ids; }
  void setParticipantIds(const std::vector<SizeType32>& ids) { participantIds_ = ids; }
  void setOrchestratorConfig(const OrchestratorConfig& config) { orchestratorConfig_ = config; }

 private:
  CommunicationType commType_;
  CommunicationMode commMode_;
  std::optional<std::vector<SizeType32>> deviceIds_, participantIds_;
  std::optional<OrchestratorConfig> orchestratorConfig_;
};

class ExecutorConfig {
 public:
  KvCacheConfig getKvCacheConfig() const { return kvCacheConfig_; }
  BatchingType getBatchingType() const { return batchingType_; }
  SizeType32 getIterStatsMaxIterations() const { return iterStatsMaxIterations_; }
  std::optional<SizeType32> getMaxBatchSize() const { return maxBatchSize_; }
  std::optional<SizeType32> getMaxNumTokens() const { return maxNumTokens_; }
  std::optional<ParallelConfig> getParallelConfig() const { return parallelConfig_; }
  bool getGatherGenerationLogits() const { return gatherGenerationLogits_; }
  bool getFailFastOnAttentionWindowTooLarge() const { return failFast_; }

  void setKvCacheConfig(const KvCacheConfig& config) { kvCacheConfig_ = config; }
  void setBatchingType(BatchingType type) { batchingType_ = type; }
  void setIterStatsMaxIterations(SizeType32 iterations) { iterStatsMaxIterations_ = iterations; }
  void setMaxBatchSize(SizeType32 size) { maxBatchSize_ = size; }
  void setMaxNumTokens(SizeType32 tokens) { maxNumTokens_ = tokens; }
  void setParallelConfig(const ParallelConfig& config) { parallelConfig_ = config; }
  void setGatherGenerationLogits(bool gather) { gatherGenerationLogits_ = gather; }
  void setFailFastOnAttentionWindowTooLarge(bool failFast) { failFast_ = failFast; }

 private:
  KvCacheConfig kvCacheConfig_;
  BatchingType batchingType_ = BatchingType::kINFLIGHT;
  SizeType32 iterStatsMaxIterations_ = 1000;
  std::optional<SizeType32> maxBatchSize_, maxNumTokens_;
  std::optional<ParallelConfig> parallelConfig_;
  bool gatherGenerationLogits_ = false, failFast_ = false;
};

class Executor {
 public:
  // Reads modelPath/config.json and this rank's engine file. All ranks of the world call it.
  Executor(const std::filesystem::path& modelPath, ModelType modelType, const ExecutorConfig& executorConfig);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  IdType enqueueRequest(const Request& request);
  std::vector<IdType> enqueueRequests(const std::vector<Request>& requests);
  std::vector<Response> awaitResponses(
      const std::optional<std::chrono::milliseconds>& timeout = std::nullopt);
  SizeType32 getNumResponsesReady(const std::optional<IdType>& requestId = std::nullopt) const;
  void cancelRequest(IdType requestId);
  void shutdown();
  std::deque<IterationStats> getLatestIterationStats();
  bool canEnqueueRequests() const;
  bool isParticipant() const;

 private:
  class Impl;
  std::unique_ptr<Impl> mImpl;
};

}  // namespace tensorrt_llm::executor
