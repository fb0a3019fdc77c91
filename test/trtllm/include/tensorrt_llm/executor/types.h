// Stand-ins of our own for the part of TensorRT-LLM 1.2's executor API that native/backend/trtllm uses: its
// names and what they mean, not its text. The wrapper compiles against these exactly as against an installed
// wheel's headers.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tensorrt_llm::executor {

class Tensor;

using SizeType32 = std::int32_t;
using FloatType = float;
using TokenIdType = std::int32_t;
using VecTokens = std::vector<TokenIdType>;
using BeamTokens = std::vector<VecTokens>;
using IdType = std::uint64_t;
using IterationType = std::uint64_t;
using RandomSeedType = std::uint64_t;
using VecLogProbs = std::vector<FloatType>;

enum class DataType { kBOOL, kUINT8, kINT8, kINT32, kINT64, kBF16, kFP8, kFP16, kFP32, kUNKNOWN };
enum class ModelType { kDECODER_ONLY = 0, kENCODER_ONLY = 1, kENCODER_DECODER = 2 };
enum class BatchingType { kSTATIC = 0, kINFLIGHT = 1 };
enum class CommunicationType { kMPI = 0 };
enum class CommunicationMode { kLEADER, kORCHESTRATOR };
enum class FinishReason {
  kNOT_FINISHED = 0,
  kEND_ID = 1,
  kSTOP_WORDS = 2,
  kLENGTH = 3,
  kTIMED_OUT = 4,
  kCANCELLED = 5
};

struct KvCacheStats {
  SizeType32 maxNumBlocks, freeNumBlocks, usedNumBlocks, tokensPerBlock;
};

struct InflightBatchingStats {
  SizeType32 numScheduledRequests, numContextRequests, numGenRequests, numPausedRequests, numCtxTokens;
};

struct IterationStats {
  IterationType iter;
  double iterLatencyMS;
  SizeType32 numActiveRequests, numQueuedRequests;
  std::size_t gpuMemUsage;
  std::optional<KvCacheStats> kvCacheStats;
  std::optional<InflightBatchingStats> inflightBatchingStats;
};

struct RequestPerfMetrics {
  using TimePoint = std::chrono::time_point<std::chrono::steady_clock>;
  struct TimingMetrics {
    TimePoint arrivalTime, firstScheduledTime, firstTokenTime, lastTokenTime;
  };
  TimingMetrics timingMetrics;
};

}  // namespace tensorrt_llm::executor
