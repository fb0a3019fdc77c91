#include "comm/framed/connection.h"

#include "base/error.h"

namespace kraken {
namespace {

constexpr uint32_t kMostBytes = 1u << 30;

}  // namespace

void Connection::queue(FrameKind kind, uint64_t number, std::span<const uint8_t> payload) {
  if (payload.size() > kMostBytes) {
    throw Error("ERR_OPTION", "a step exchanges " + std::to_string(payload.size()) +
                                  " bytes, more than a frame between hosts holds: lower maxStepTokens");
  }
  outgoing_.push_back({{kind, 0, static_cast<uint32_t>(payload.size()), number}, payload, {}});
}

void Connection::queue_owned(FrameKind kind, uint64_t number, std::vector<uint8_t> payload) {
  queue(kind, number, payload);
  outgoing_.back().owned = std::move(payload);  // the span stays: a moved vector keeps its memory
}

void Connection::check_header(const FrameHeader& header) const {
  const auto kind = static_cast<uint16_t>(header.kind);
  if (kind < 1 || kind > static_cast<uint16_t>(kLastFrameKind) || header.zero != 0 ||
      header.bytes > kMostBytes) {
    broken("it sent what cannot be");
  }
}

void Connection::broken(const std::string& why) const {
  throw Error("ERR_RANK_LOST",
              "the connection to rank " + std::to_string(rank_) + " (" + name_ + ") broke: " + why);
}

}  // namespace kraken
