#include <chrono>
#include <memory>
#include <random>

#include "all_reduce.h"
#include "cases.h"
#include "multicast.h"
#include "ranks.h"

namespace kraken::test {
namespace {

using kernels::AllReduceAlgorithm;
using kernels::AllReduceSpec;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr AllReduceAlgorithm kAlgorithms[] = {AllReduceAlgorithm::OneShot, AllReduceAlgorithm::TwoShot,
                                              AllReduceAlgorithm::Multimem};

const char* name_of(AllReduceAlgorithm algorithm) {
  return algorithm == AllReduceAlgorithm::OneShot   ? "one-shot"
         : algorithm == AllReduceAlgorithm::TwoShot ? "two-shot"
                                                    : "multimem";
}

struct Shape {
  int64_t count;
  int32_t blocks;
};

// Fewer elements than ranks, than threads, than blocks; partial vectors; several turns of the loop.
constexpr Shape kShapes[] = {{1, 1}, {3, 2}, {113, 1}, {678, 4}, {2048, 8}, {9001, 1}, {20011, 3}};

std::vector<double> sum_of(const std::vector<std::vector<double>>& parts) {
  std::vector<double> sum(parts[0].size(), 0.0);
  for (const auto& part : parts) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  return sum;
}

// What a kernel that adds up in float32 in the order of ranks stores, to the bit.
std::vector<double> sum_in_order(DType dtype, const std::vector<std::vector<double>>& parts) {
  std::vector<double> sum(parts[0].size());
  for (size_t i = 0; i < sum.size(); ++i) {
    float total = static_cast<float>(parts[0][i]);
    for (size_t rank = 1; rank < parts.size(); ++rank) total += static_cast<float>(parts[rank][i]);
    sum[i] = rounded(dtype, static_cast<double>(total));
  }
  return sum;
}

enum class Memory { Buffers, Own, OwnUnaligned };

void check(Checks& checks, RankGroup& group, AllReduceAlgorithm algorithm, DType dtype, const Shape& shape,
           Memory memory) {
  std::vector<std::vector<double>> parts;
  std::vector<Array> inputs, outputs;
  const int64_t offset = memory == Memory::OwnUnaligned ? 1 : 0;
  for (int rank = 0; rank < group.ranks(); ++rank) {
    parts.push_back(random_values(dtype, shape.count, static_cast<uint32_t>(100 + rank)));
    inputs.push_back(group.array(rank, dtype, shape.count, offset));
    outputs.push_back(group.array(rank, dtype, shape.count, offset));
    inputs.back().upload(parts.back());
    const auto bytes = static_cast<size_t>(shape.count * kernels::size_of(dtype));
    const kernels::PeerBuffers& peers = group.peers(rank);
    KRAKEN_CUDA(cudaMemset(peers.receive[rank], 0xff, bytes));
    KRAKEN_CUDA(cudaMemset(peers.send[rank], 0xff, bytes));
    if (memory == Memory::Buffers) {
      KRAKEN_CUDA(cudaMemcpy(peers.send[rank], inputs.back().data(), bytes, cudaMemcpyDefault));
    }
  }
  KRAKEN_CUDA(cudaDeviceSynchronize());
  group.run([&](int rank, cudaStream_t stream) {
    const auto at = static_cast<size_t>(rank);
    AllReduceSpec spec;
    spec.algorithm = algorithm;
    spec.dtype = dtype;
    spec.count = shape.count;
    spec.blocks = shape.blocks;
    if (memory != Memory::Buffers) {
      spec.input = inputs[at].data();
      spec.output = outputs[at].data();
    }
    KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), stream));
  });
  const std::string name = std::string(name_of(algorithm)) + " " + short_name(dtype) +
                           " R=" + std::to_string(group.ranks()) + " n=" + std::to_string(shape.count) +
                           " blocks=" + std::to_string(shape.blocks) +
                           (memory == Memory::Buffers ? ""
                            : offset == 0             ? " own memory"
                                                      : " unaligned memory");
  std::vector<double> first;
  for (int rank = 0; rank < group.ranks(); ++rank) {
    Array& output = outputs[static_cast<size_t>(rank)];
    if (memory == Memory::Buffers) {
      KRAKEN_CUDA(cudaMemcpy(output.data(), group.peers(rank).receive[rank],
                             static_cast<size_t>(shape.count * kernels::size_of(dtype)), cudaMemcpyDefault));
    }
    const std::vector<double> got = output.download();
    const std::string of = name + " rank " + std::to_string(rank);
    checks.push_back(expect_close(of, got, sum_of(parts), rounding(dtype)));
    if (rank == 0) first = got;
    checks.push_back(expect_same(of + " as rank 0", got, first));
    if (algorithm != AllReduceAlgorithm::Multimem) {
      checks.push_back(expect_same(of + " in the order of ranks", got, sum_in_order(dtype, parts)));
    }
    checks.push_back(expect_true(of + " reports no error", group.error(rank) == 0));
  }
}

std::unique_ptr<Multicast> multicast_of(RankGroup& group) {
  return Multicast::is_available(group.ranks()) ? std::make_unique<Multicast>(group) : nullptr;
}

bool can_run(AllReduceAlgorithm algorithm, int ranks) {
  return algorithm != AllReduceAlgorithm::Multimem || Multicast::is_available(ranks);
}

}  // namespace

Checks all_reduce_checks(int ranks) {
  Checks checks;
  RankGroup group(ranks, 20011 * 4);
  const auto multicast = multicast_of(group);
  for (const AllReduceAlgorithm algorithm : kAlgorithms) {
    if (!can_run(algorithm, ranks)) continue;
    for (const DType dtype : kDTypes) {
      for (const Shape& shape : kShapes) {
        if (kIsSlow && shape.count > 9000) continue;
        check(checks, group, algorithm, dtype, shape, Memory::Own);
      }
      check(checks, group, algorithm, dtype, {678, 2}, Memory::Buffers);
      check(checks, group, algorithm, dtype, {679, 2}, Memory::OwnUnaligned);
    }
  }
  return checks;
}

// Values that name rank and exchange, all sums of them exact in float32; ranks pause at random. A buffer that
// is reused too early is a wrong sum, and a race under ThreadSanitizer. The algorithms take turns, as a
// model's exchanges of different sizes do.
Checks all_reduce_sequence_checks(int ranks) {
  constexpr int kExchanges = 60;
  constexpr int64_t kCount = 300;
  RankGroup group(ranks, kCount * 4);
  const auto multicast = multicast_of(group);
  const bool has_multimem = multicast != nullptr;
  const auto value = [](int exchange, int rank) { return exchange * 10 + rank; };
  std::vector<int> wrong(static_cast<size_t>(ranks), 0);
  // Neither allocated nor freed while ranks wait for one another: either may wait for the device they share.
  std::vector<Array> inputs, outputs;
  for (int rank = 0; rank < ranks; ++rank) {
    inputs.push_back(group.array(rank, DType::Float32, kCount));
    outputs.push_back(group.array(rank, DType::Float32, kCount));
  }
  group.run([&](int rank, cudaStream_t stream) {
    std::mt19937 random(static_cast<uint32_t>(rank));
    const Array &input = inputs[static_cast<size_t>(rank)], &output = outputs[static_cast<size_t>(rank)];
    for (int exchange = 0; exchange < kExchanges; ++exchange) {
      if (random() % 4 == 0) std::this_thread::sleep_for(microseconds(random() % 300));
      AllReduceSpec spec;
      spec.algorithm = kAlgorithms[exchange % 3];
      if (!has_multimem && spec.algorithm == AllReduceAlgorithm::Multimem)
        spec.algorithm = AllReduceAlgorithm::OneShot;
      spec.count = kCount - exchange % 7;
      spec.blocks = 1 + exchange % 2;
      const std::vector<float> values(static_cast<size_t>(kCount), static_cast<float>(value(exchange, rank)));
      const bool through_buffers = exchange % 4 == 3;
      // What start_norm does: the send buffer is free as soon as the previous kernel has ended.
      void* to = through_buffers ? group.peers(rank).send[rank] : input.data();
      KRAKEN_CUDA(cudaMemcpyAsync(to, values.data(), kCount * sizeof(float), cudaMemcpyDefault, stream));
      if (!through_buffers) {
        spec.input = input.data();
        spec.output = output.data();
      }
      KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), stream));
      // A copy to memory that is not pinned may hold up the other ranks' launches while it waits for the sum.
      KRAKEN_CUDA(cudaStreamSynchronize(stream));
      std::vector<float> got(static_cast<size_t>(spec.count));
      const void* from = through_buffers ? group.peers(rank).receive[rank] : output.data();
      KRAKEN_CUDA(cudaMemcpyAsync(got.data(), from, got.size() * sizeof(float), cudaMemcpyDefault, stream));
      KRAKEN_CUDA(cudaStreamSynchronize(stream));
      int want = 0;
      for (int peer = 0; peer < ranks; ++peer) want += value(exchange, peer);
      for (const float one : got) wrong[static_cast<size_t>(rank)] += one == static_cast<float>(want) ? 0 : 1;
    }
    KRAKEN_CUDA(kernels::barrier(group.peers(rank), stream));
  });
  Checks checks;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string name = "sequence R=" + std::to_string(ranks) + " rank " + std::to_string(rank);
    checks.push_back({name, static_cast<double>(wrong[static_cast<size_t>(rank)]), 0});
    checks.push_back(expect_true(name + " reports no error", group.error(rank) == 0));
  }
  return checks;
}

Checks lost_rank_checks(int ranks) {
  Checks checks;
  const std::string name = "R=" + std::to_string(ranks) + " ";
  const int last = ranks - 1;
  AllReduceSpec spec;
  spec.count = 64;
  spec.blocks = 2;
  for (const AllReduceAlgorithm algorithm : kAlgorithms) {
    if (!can_run(algorithm, ranks)) continue;
    spec.algorithm = algorithm;
    const std::string of = name + name_of(algorithm);
    {  // Late by less than the bound: everyone waits.
      RankGroup group(ranks, 256);
      const auto multicast = multicast_of(group);
      group.run([&](int rank, cudaStream_t stream) {
        if (rank == last) std::this_thread::sleep_for(milliseconds(30));
        KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), stream));
      });
      for (int rank = 0; rank < ranks; ++rank) {
        checks.push_back(expect_true(of + " waits for a rank that lags", group.error(rank) == 0));
      }
    }
    {  // Never there: everyone else ends, says who, and does not wait a second time.
      constexpr milliseconds kBound{1000};  // Far beyond how late a loaded machine makes a rank that lives.
      RankGroup group(ranks, 256, std::chrono::nanoseconds(kBound).count());
      const auto multicast = multicast_of(group);
      std::vector<double> again(static_cast<size_t>(ranks), 0);
      group.run([&](int rank, cudaStream_t stream) {
        if (rank == last) return;
        KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), stream));
        KRAKEN_CUDA(cudaStreamSynchronize(stream));
        const auto begin = std::chrono::steady_clock::now();
        KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), stream));
        KRAKEN_CUDA(kernels::barrier(group.peers(rank), stream));
        KRAKEN_CUDA(cudaStreamSynchronize(stream));
        again[static_cast<size_t>(rank)] =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      });
      for (int rank = 0; rank < last; ++rank) {
        checks.push_back(
            expect_true(of + " names the lost rank", group.error(rank) == 1u + static_cast<uint32_t>(last)));
        const double bound = std::chrono::duration<double>(kBound).count();
        checks.push_back(expect_true(of + " waits once only", again[static_cast<size_t>(rank)] < bound));
      }
      // Should it come after all, it learns that it was given up.
      group.run([&](int rank, cudaStream_t stream) {
        if (rank == last) KRAKEN_CUDA(kernels::all_reduce(spec, group.peers(rank), stream));
      });
      checks.push_back(
          expect_true(of + " tells the lost rank", group.error(last) == 1u + static_cast<uint32_t>(last)));
    }
  }
  return checks;
}

Checks all_reduce_argument_checks() {
  Checks checks;
  RankGroup group(1, 64);
  const auto refuses = [&](const char* what, cudaError_t want, auto change) {
    AllReduceSpec spec;
    spec.count = 16;
    kernels::PeerBuffers peers = group.peers(0);
    change(spec, peers);
    checks.push_back(expect_error(what, kernels::all_reduce(spec, peers, nullptr), want));
  };
  using kernels::PeerBuffers;
  refuses("one rank", cudaSuccess, [](AllReduceSpec&, PeerBuffers&) {});
  refuses("nothing to sum", cudaSuccess, [](AllReduceSpec& spec, PeerBuffers&) { spec.count = 0; });
  refuses("too much", cudaErrorInvalidValue, [](AllReduceSpec& spec, PeerBuffers&) { spec.count = 17; });
  refuses("no blocks", cudaErrorInvalidValue, [](AllReduceSpec& spec, PeerBuffers&) { spec.blocks = 0; });
  refuses("too many blocks", cudaErrorInvalidValue,
          [](AllReduceSpec& spec, PeerBuffers&) { spec.blocks = 65; });
  refuses("nine ranks", cudaErrorInvalidValue, [](AllReduceSpec&, PeerBuffers& peers) { peers.ranks = 9; });
  refuses("a rank beyond", cudaErrorInvalidValue, [](AllReduceSpec&, PeerBuffers& peers) { peers.rank = 1; });
  refuses("no flags", cudaErrorInvalidValue,
          [](AllReduceSpec&, PeerBuffers& peers) { peers.flags[0] = nullptr; });
  refuses("no receive buffer", cudaErrorInvalidValue,
          [](AllReduceSpec&, PeerBuffers& peers) { peers.receive[0] = nullptr; });
  refuses("no multicast address", cudaErrorNotSupported,
          [](AllReduceSpec& spec, PeerBuffers&) { spec.algorithm = AllReduceAlgorithm::Multimem; });
  return checks;
}

}  // namespace kraken::test
