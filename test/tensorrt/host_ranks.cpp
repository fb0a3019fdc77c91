#include "host_ranks.h"

#include <barrier>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>
#include <thread>

#include "backend/tensorrt/rank_file_weights.h"
#include "kraken_plugins.h"

namespace kraken::test {
namespace {

// Where ranks meet while their communicators are made.
struct Meeting {
  explicit Meeting(int ranks) : barrier(ranks), records(static_cast<size_t>(ranks)) {}
  std::barrier<> barrier;
  std::vector<std::vector<char>> records;
};
struct Seat {
  Meeting* meeting;
  int rank;
};

int32_t gather(void* context, const void* mine, void* all, int64_t bytes) {
  const Seat& seat = *static_cast<Seat*>(context);
  const char* begin = static_cast<const char*>(mine);
  seat.meeting->records[static_cast<size_t>(seat.rank)].assign(begin, begin + bytes);
  seat.meeting->barrier.arrive_and_wait();
  auto* to = static_cast<char*>(all);
  for (const std::vector<char>& record : seat.meeting->records) {
    std::memcpy(to, record.data(), record.size());
    to += record.size();
  }
  seat.meeting->barrier.arrive_and_wait();
  return 0;
}

kraken_element element_of(DType dtype) {
  return dtype == DType::Float32   ? KRAKEN_FLOAT32
         : dtype == DType::Float16 ? KRAKEN_FLOAT16
                                   : KRAKEN_BFLOAT16;
}

void on_threads(size_t count, const std::function<void(size_t)>& task) {
  std::vector<std::exception_ptr> failures(count);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      try {
        task(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace

struct HostEngine::Rank {
  Graph graph;
  RankFile file;
  std::unique_ptr<nvinfer1::INetworkDefinition> network;
  kraken_communicator* communicator = nullptr;
  kraken_kv_cache* kv_cache = nullptr;
  std::unique_ptr<Interpreter> interpreter;

  ~Rank() {
    interpreter.reset();  // its plugins use the rest
    kraken_kv_cache_destroy(kv_cache);
    kraken_communicator_destroy(communicator);
  }

  void attach(const HostEngineOptions& options, Seat seat) {
    kraken_communicator_options communicating{};
    communicating.struct_size = sizeof communicating;
    communicating.rank = graph.rank;
    communicating.ranks = graph.ranks;
    communicating.transport = KRAKEN_TRANSPORT_PEER;
    communicating.capacity = int64_t{options.lowering.max_tokens} * graph.config.width * 4;
    communicating.all_gather = gather;
    communicating.context = &seat;
    communicating.algorithms = options.algorithms.empty() ? nullptr : options.algorithms.c_str();
    communicating.timeout_nanoseconds = 60'000'000'000;  // a loaded machine is no lost rank
    communicator = kraken_communicator_create(&communicating);
    if (communicator == nullptr) throw std::runtime_error(kraken_plugins_last_error());

    kraken_kv_cache_options caching{};
    caching.struct_size = sizeof caching;
    caching.element = element_of(options.lowering.dtype);
    caching.layers = graph.config.layers;
    caching.heads = graph.ways * graph.kv_heads;
    caching.head_dim = graph.config.head_dim;
    caching.block_tokens = options.lowering.block_tokens;
    caching.blocks = options.kv_blocks;
    kv_cache = kraken_kv_cache_create(&caching);
    if (kv_cache == nullptr) throw std::runtime_error(kraken_plugins_last_error());

    const kraken_binding binding = {communicator, kv_cache};
    kraken_bind(&binding);
    interpreter = std::make_unique<Interpreter>(*network);
    if (kraken_unbind() != interpreter->plugins())
      throw std::runtime_error("a plugin did not take what was bound");
    network.reset();
  }
};

HostEngine::HostEngine(HostTensorRt& tensorrt, const RandomModel& model, const HostEngineOptions& options)
    : vocab_(model.config().vocab), blocks_(options.lowering.blocks()) {
  std::vector<tensorrt::WeightStore> stores;  // until the interpreters have read the networks
  for (int i = 0; i < options.ranks; ++i) {
    Rank& rank = *ranks_.emplace_back(std::make_unique<Rank>());
    rank.graph = build_graph(model.config(), {i, options.ranks, options.communication});
    rank.file = model.rank_file(rank.graph);
    rank.network.reset(tensorrt::create_network(tensorrt.builder()));
    try {
      const tensorrt::RankFileWeights weights(rank.file);
      stores.push_back(options.lower ? options.lower(rank.graph, weights, *rank.network)
                                     : lower(rank.graph, weights, options.lowering, *rank.network));
    } catch (const std::exception& error) {
      throw std::runtime_error(std::string(error.what()) + "\n" + tensorrt.take_problems());
    }
  }
  Meeting meeting(options.ranks);
  on_threads(ranks_.size(), [&](size_t i) { ranks_[i]->attach(options, {&meeting, static_cast<int>(i)}); });
}

HostEngine::~HostEngine() = default;

int HostEngine::plugins(int rank) const {
  return ranks_[static_cast<size_t>(rank)]->interpreter->plugins();
}

std::vector<float> HostEngine::step(const StepBatch& batch) const {
  const Interpreter::Tensors inputs = network_inputs(batch, blocks_);
  const size_t rows = batch.wanted_rows.size(), vocab = static_cast<size_t>(vocab_);
  std::vector<float> logits(rows * vocab);
  on_threads(ranks_.size(), [&](size_t i) {
    const Rank& rank = *ranks_[i];
    const HostTensor part = rank.interpreter->run(inputs).at(tensorrt::kLogits);
    if (kraken_communicator_status(rank.communicator) != 0)
      throw std::runtime_error(kraken_plugins_last_error());
    const auto begin = static_cast<size_t>(rank.graph.vocab_begin),
               size = static_cast<size_t>(rank.graph.vocab_size);
    for (size_t j = 0; j < rows * size; ++j)
      logits[j / size * vocab + begin + j % size] = static_cast<float>(part.values.at(j));
  });
  return logits;
}

Interpreter::Tensors network_inputs(const StepBatch& batch, int blocks) {
  const auto integers = [](std::span<const int32_t> values) {
    return HostTensor::integers({values.begin(), values.end()});
  };
  std::vector<int32_t> begins = {0}, past, tables;
  for (const StepBatch::Sequence& sequence : batch.sequences) {
    begins.push_back(sequence.begin + sequence.length);
    past.push_back(sequence.past);
    std::vector<int32_t> table(sequence.blocks.begin(), sequence.blocks.end());
    table.resize(static_cast<size_t>(blocks), 0);
    tables.insert(tables.end(), table.begin(), table.end());
  }
  Interpreter::Tensors inputs;
  inputs.emplace(tensorrt::kIds, integers(batch.tokens));
  inputs.emplace(tensorrt::kPositions, integers(batch.positions));
  inputs.emplace(tensorrt::kSequenceBegins, integers(begins));
  inputs.emplace(tensorrt::kPastLengths, integers(past));
  inputs.emplace(tensorrt::kBlockTables,
                 HostTensor::integers(tables, {static_cast<int64_t>(past.size()), blocks}));
  inputs.emplace(tensorrt::kWantedRows, integers(batch.wanted_rows));
  return inputs;
}

}  // namespace kraken::test
