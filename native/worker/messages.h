// What Node and kraken-worker say to each other. A frame is a length (uint32, of what follows the header), a
// type (uint16) and 16 bits that are 0; then the fields in wire.h's form. Hello has the same form in every
// version, so that two sides that don't fit can say so. docs/architecture.md tells who says what when.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/tensorrt/plan_options.h"
#include "runtime/executor.h"
#include "worker/wire.h"

namespace kraken {

// Raised when a message changes. Build ids catch the rest: both sides come from one build.
constexpr uint32_t kProtocolVersion = 4;
constexpr uint32_t kProtocolMagic = 0x4e4b524b;  // "KRKN"
constexpr size_t kFrameHeaderBytes = 8;
// Of a frame's content. Nobody makes room for it before it has come.
constexpr uint32_t kMaxFrameBytes = 64u << 20;

enum class MessageType : uint16_t {
  Hello = 1,   // both, first: kProtocolMagic, kProtocolVersion, build id
  Failed = 2,  // both, last: code and message of why this side ends (the worker: also why it cannot load)
  // to the worker
  Load = 16,      // ExecutorOptions; once
  Enqueue = 17,   // Request, with ids that grow
  Cancel = 18,    // id
  AskStats = 19,  // number
  Ping = 20,
  Shutdown = 21,
  Build = 22,  // PlanOptions; once, and instead of Load
  // from the worker
  Loaded = 32,     // RequestLimits
  Responses = 33,  // Response, one after another
  LeftQueue = 34,  // count: see QueueObserver
  Closed = 35,     // code and message: see QueueObserver
  Stats = 36,      // the number asked with, ExecutorStats
  Pong = 37,
  Stopped = 38,        // ExecutorStats; every request has had its last event
  BuildProgress = 39,  // the share that is done, from 0 to 1
  Built = 40,          // what the manifest keeps (JSON)
  // between ranks on several hosts: hosts/host_messages.h
  Join = 64,
  Joined = 65,
  RankLoaded = 66,
  Step = 67,
  Products = 68,
  ReadWeights = 69,
  RankDone = 70,
  RankRoom = 71,
  Limits = 72,
};

struct Hello {
  uint32_t magic = kProtocolMagic;
  uint32_t protocol = kProtocolVersion;
  std::string build;
};
// Throws ERR_NATIVE_LOAD for another protocol or build than this side's; says which, and what to do.
void check_hello(const Hello& other);

struct Failure {
  std::string code, message;
};

// Of this build (cmake/build-id.cmake).
std::string build_version();
std::string build_id();
// What `kraken-worker --version` prints.
std::string worker_version();

// A frame being written.
class Frame {
 public:
  explicit Frame(MessageType type);
  template <typename... Values>
  Frame(MessageType type, const Values&... values) : Frame(type) {
    (write(values), ...);
  }

  void write(uint32_t value) { writer_(value); }
  void write(int32_t value) { writer_(value); }
  void write(uint64_t value) { writer_(value); }
  void write(double value) { writer_(value); }
  void write(const std::string& text) { writer_(text); }
  void write(const Hello& hello);
  void write(const Failure& failure);
  void write(const ExecutorOptions& options);
  void write(const PlanOptions& options);
  void write(const Request& request);
  void write(const RequestLimits& limits);
  void write(const Response& response);
  void write(const ExecutorStats& stats);
  // Content that is written already.
  void write(std::span<const uint8_t> bytes) { writer_.append(bytes); }

  size_t size() const { return writer_.size(); }
  // The whole of it, its length filled in. Throws ERR_OPTION beyond kMaxFrameBytes.
  std::vector<uint8_t> take() &&;

 private:
  Writer writer_;
};

void read(Reader& reader, Hello& hello);
void read(Reader& reader, Failure& failure);
void read(Reader& reader, ExecutorOptions& options);
void read(Reader& reader, PlanOptions& options);
void read(Reader& reader, Request& request);
void read(Reader& reader, RequestLimits& limits);
void read(Reader& reader, Response& response);
void read(Reader& reader, ExecutorStats& stats);
inline void read(Reader& reader, uint32_t& value) {
  reader(value);
}
inline void read(Reader& reader, int32_t& value) {
  reader(value);
}
inline void read(Reader& reader, uint64_t& value) {
  reader(value);
}
inline void read(Reader& reader, double& value) {
  reader(value);
}
inline void read(Reader& reader, std::string& text) {
  reader(text);
}

// All of a message, and nothing but it.
template <typename... Values>
void read_all(Reader& reader, Values&... values) {
  (read(reader, values), ...);
  reader.end();
}

}  // namespace kraken
