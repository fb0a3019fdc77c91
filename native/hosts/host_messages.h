// What rank 0 and the ranks on other hosts say to each other: frames of worker/messages.h, first on the bare
// connection, then as the communicator's messages.
//
//     rank → rank 0   what the handshake carries: HostIdentity
//     rank 0 → rank   Join
//     rank → rank 0   Joined, or Failed          from here on through the communicator:
//     rank → rank 0   RankRoom, or Failed
//     rank 0 → rank   Limits
//     rank → rank 0   RankLoaded, or Failed
//     rank 0 → rank   Step, Products, ReadWeights (any number of them, then it leaves)
//     rank → rank 0   RankDone, after Products and ReadWeights
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "runtime/local_executor.h"
#include "worker/messages.h"

namespace kraken {

struct HostIdentity {
  Hello hello;
  int32_t rank = 0;
  uint32_t port = 0;  // where it waits for ranks above it
};

struct Join {
  ExecutorOptions options;  // without the secret, which it has
  std::string engine_digest;
  std::vector<std::string> addresses;  // of each rank, as rank 0 sees it
  std::vector<uint32_t> ports;
};

std::vector<uint8_t> bytes_of(const HostIdentity& identity);
HostIdentity read_identity(const std::vector<uint8_t>& bytes);

std::vector<uint8_t> bytes_of(const Join& join);
Join read_join(Reader& reader);

// Bytes that a rank may still allocate, on its host or on its device.
std::vector<uint8_t> rank_room(uint64_t bytes);

// What a rank needs of it.
std::vector<uint8_t> bytes_of(const LocalExecutorConfig& limits);
LocalExecutorConfig read_limits(Reader& reader);

std::vector<uint8_t> bytes_of(const RankMemory& memory);
RankMemory read_rank_memory(Reader& reader);

std::vector<uint8_t> bytes_of(const StepBatch& batch);
// A step that has come from rank 0: the batch's spans lie in it.
class ReceivedStep {
 public:
  // Throws ERR_RANK_LOST for a step that does not fit the limits.
  const StepBatch& read(Reader& reader, const LocalExecutorConfig& config);

 private:
  StepBatch batch_;
  std::vector<int32_t> tokens_, positions_, wanted_rows_, shapes_, blocks_;
  std::vector<StepBatch::Sequence> sequences_;
};

// Opens a frame that came whole: its type, and a reader of the rest. Throws ERR_RANK_LOST.
std::pair<MessageType, Reader> open_frame(const std::vector<uint8_t>& bytes);

}  // namespace kraken
