#include "hosts/host_messages.h"

#include <utility>

namespace kraken {
namespace {

template <typename Wire, typename T>
void config_fields(Wire& wire, T& config) {
  wire(config.vocab, config.kv_blocks, config.kv_block_tokens, config.max_batch_size,
       config.max_sequence_length, config.max_step_tokens, config.prefill_chunk, config.max_rows,
       config.max_queue, config.profile);
}

// Fields that no frame of worker/messages.h has.
std::vector<uint8_t> framed(MessageType type, Writer&& content) {
  Frame frame(type);
  frame.write(std::move(content).take());
  return std::move(frame).take();
}

}  // namespace

std::vector<uint8_t> bytes_of(const HostIdentity& identity) {
  Writer writer;
  writer(identity.hello.magic, identity.hello.protocol, identity.hello.build, identity.rank, identity.port);
  return std::move(writer).take();
}

HostIdentity read_identity(const std::vector<uint8_t>& bytes) {
  HostIdentity identity;
  Reader reader(bytes);
  reader(identity.hello.magic, identity.hello.protocol, identity.hello.build, identity.rank, identity.port);
  reader.end();
  return identity;
}

std::vector<uint8_t> bytes_of(const Join& join) {
  Writer writer;
  writer(join.engine_digest, join.addresses, join.ports);
  Frame frame(MessageType::Join, join.options);
  frame.write(std::move(writer).take());
  return std::move(frame).take();
}

Join read_join(Reader& reader) {
  Join join;
  read(reader, join.options);
  reader(join.engine_digest, join.addresses, join.ports);
  reader.end();
  const auto ranks = static_cast<size_t>(join.options.ranks);
  if (join.options.hosts.size() != ranks || join.addresses.size() != ranks || join.ports.size() != ranks) {
    garbled("hosts of " + std::to_string(join.addresses.size()) + " ranks instead of " +
            std::to_string(ranks));
  }
  return join;
}

std::vector<uint8_t> rank_room(uint64_t bytes) {
  return Frame(MessageType::RankRoom, bytes).take();
}

std::vector<uint8_t> bytes_of(const LocalExecutorConfig& limits) {
  Writer writer;
  config_fields(writer, limits);
  return framed(MessageType::Limits, std::move(writer));
}

LocalExecutorConfig read_limits(Reader& reader) {
  LocalExecutorConfig limits;
  config_fields(reader, limits);
  reader.end();
  return limits;
}

std::vector<uint8_t> bytes_of(const RankMemory& memory) {
  Writer writer;
  writer(uint64_t{memory.weights}, uint64_t{memory.kv_cache}, uint64_t{memory.activations});
  return framed(MessageType::RankLoaded, std::move(writer));
}

RankMemory read_rank_memory(Reader& reader) {
  uint64_t weights = 0, kv_cache = 0, activations = 0;
  reader(weights, kv_cache, activations);
  reader.end();
  return {weights, kv_cache, activations};
}

std::vector<uint8_t> bytes_of(const StepBatch& batch) {
  const auto copy = [](std::span<const int32_t> values) {
    return std::vector<int32_t>(values.begin(), values.end());
  };
  std::vector<int32_t> shapes, blocks;
  for (const StepBatch::Sequence& sequence : batch.sequences) {
    shapes.insert(shapes.end(), {sequence.begin, sequence.length, sequence.past,
                                 static_cast<int32_t>(sequence.blocks.size())});
    blocks.insert(blocks.end(), sequence.blocks.begin(), sequence.blocks.end());
  }
  Writer writer;
  writer(copy(batch.tokens), copy(batch.positions), copy(batch.wanted_rows), shapes, blocks);
  return framed(MessageType::Step, std::move(writer));
}

const StepBatch& ReceivedStep::read(Reader& reader, const LocalExecutorConfig& config) {
  reader(tokens_, positions_, wanted_rows_, shapes_, blocks_);
  reader.end();
  const auto require = [](bool fits) {
    if (!fits) garbled("a step beyond the limits");
  };
  const auto within = [&](const std::vector<int32_t>& values, int64_t bound) {
    for (const int32_t value : values) require(value >= 0 && value < bound);
  };
  const auto count = static_cast<int64_t>(tokens_.size());
  require(count <= config.max_step_tokens && positions_.size() == tokens_.size());
  require(static_cast<int64_t>(wanted_rows_.size()) <= config.max_rows && shapes_.size() % 4 == 0);
  within(tokens_, config.vocab);
  within(positions_, config.max_sequence_length);
  within(wanted_rows_, count);
  within(blocks_, config.kv_blocks);

  sequences_.clear();
  size_t used = 0;
  int64_t next = 0;
  for (size_t i = 0; i < shapes_.size(); i += 4) {
    const int32_t begin = shapes_[i], length = shapes_[i + 1], past = shapes_[i + 2], held = shapes_[i + 3];
    require(begin == next && length > 0 && past >= 0 && held >= 0);
    require(static_cast<size_t>(held) <= blocks_.size() - used);
    require(int64_t{past} + length <= int64_t{held} * config.kv_block_tokens);
    require(int64_t{past} + length <= config.max_sequence_length);
    sequences_.push_back({begin, length, past, std::span(blocks_).subspan(used, static_cast<size_t>(held))});
    used += static_cast<size_t>(held);
    next += length;
  }
  require(next == count && static_cast<int32_t>(sequences_.size()) <= config.max_batch_size);
  batch_ = {tokens_, positions_, sequences_, wanted_rows_};
  return batch_;
}

std::pair<MessageType, Reader> open_frame(const std::vector<uint8_t>& bytes) {
  Reader reader(bytes);
  uint32_t length = 0;
  uint16_t type = 0, zero = 0;
  reader(length, type, zero);
  if (zero != 0 || length != bytes.size() - kFrameHeaderBytes) garbled("a frame of another length");
  return {static_cast<MessageType>(type), reader};
}

}  // namespace kraken
