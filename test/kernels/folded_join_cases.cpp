// An exchange without a kernel of its own: start_norm announces, join_norm_peers sums.
#include <random>

#include "all_reduce.h"
#include "cases.h"
#include "exchange_times.h"
#include "join_norm.h"
#include "norm.h"
#include "norm_reference.h"
#include "ranks.h"

namespace kraken::test {
namespace {

using kernels::NormKind;
using kernels::NormSpec;

struct Rank {
  Rank(RankGroup& group, int rank, const NormCase& one)
      : input(group.array(rank, one.spec.dtype, one.count())),
        attention(group.array(rank, one.spec.dtype, one.count())),
        normalised(group.array(rank, one.spec.dtype, one.count())),
        folded(group.array(rank, one.spec.dtype, one.count())),
        apart(group.array(rank, one.spec.dtype, one.count())),
        x(random_values(one.spec.dtype, one.count(), static_cast<uint32_t>(20 + rank))),
        a(random_values(one.spec.dtype, one.count(), static_cast<uint32_t>(40 + rank))) {
    input.upload(x);
    attention.upload(a);
  }
  Array input, attention, normalised, folded, apart;
  std::vector<double> x, a;
};

void check(Checks& checks, int ranks, const NormCase& one) {
  RankGroup group(ranks, one.spec.tokens * one.spec.width * kernels::size_of(one.spec.dtype));
  std::vector<Rank> all;
  for (int rank = 0; rank < ranks; ++rank) all.emplace_back(group, rank, one);
  // Twice, with the buffer freed in between; then with an all-reduce in place of folding, which must give the
  // same bits.
  group.run([&](int rank, cudaStream_t stream) {
    Rank& own = all[static_cast<size_t>(rank)];
    const kernels::PeerBuffers& peers = group.peers(rank);
    for (int turn = 0; turn < 2; ++turn) {
      KRAKEN_CUDA(kernels::start_norm(one.spec, own.input.data(), own.input.data(), own.normalised.data(),
                                      peers.send[rank], stream, &peers));
      KRAKEN_CUDA(kernels::join_norm_peers(one.spec, own.attention.data(), own.input.data(), peers,
                                           own.folded.data(), stream));
      KRAKEN_CUDA(kernels::barrier(peers, stream));
    }
    KRAKEN_CUDA(kernels::start_norm(one.spec, own.input.data(), own.input.data(), own.normalised.data(),
                                    peers.send[rank], stream));
    kernels::AllReduceSpec spec;
    spec.dtype = one.spec.dtype;
    spec.count = one.spec.tokens * one.spec.width;
    spec.blocks = 2;
    KRAKEN_CUDA(kernels::all_reduce(spec, peers, stream));
    KRAKEN_CUDA(kernels::join_norm(one.spec, own.attention.data(), own.input.data(), peers.receive[rank],
                                   own.apart.data(), stream));
  });
  std::vector<double> sum(static_cast<size_t>(one.spec.tokens * one.spec.width), 0.0);
  for (const Rank& rank : all) {
    const std::vector<double> part = one.summed(rank.x);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += rounded(one.spec.dtype, part[i]);
  }
  for (double& value : sum) value = rounded(one.spec.dtype, value);
  for (int rank = 0; rank < ranks; ++rank) {
    const Rank& own = all[static_cast<size_t>(rank)];
    const std::string name =
        "folded R=" + std::to_string(ranks) + " " + one.name() + " rank " + std::to_string(rank);
    const std::vector<double> want = one.normalised(one.joined(own.a, own.x, sum));
    checks.push_back(expect_close(name, own.folded.download(), want, 2 * rounding(one.spec.dtype)));
    // S is the same to the bit. So is the norm where rows of all ways are equally aligned; else the two
    // kernels deal the row to threads in another way, and its float32 sums are rounded in another order.
    const bool is_same = one.spec.ways == 1;
    checks.push_back(is_same ? expect_same(name + " as apart", own.folded.download(), own.apart.download())
                             : expect_close(name + " as apart", own.folded.download(), own.apart.download(),
                                            2 * rounding(one.spec.dtype)));
    checks.push_back(expect_close(name + " start_norm", own.normalised.download(), one.normalised(own.x),
                                  rounding(one.spec.dtype)));
    checks.push_back(expect_true(name + " reports no error", group.error(rank) == 0));
  }
}

// Two send buffers in turn and no other collective: what join_norm.h promises. Ranks pause at random.
void check_rotation(Checks& checks, int ranks) {
  const NormCase one(NormKind::Layer, DType::Float32, 1, 2, 33, false);
  constexpr int kExchanges = 40;
  const int64_t bytes = one.count() * 4;
  RankGroup group(ranks, 2 * (bytes + 16));
  std::vector<Rank> all;
  for (int rank = 0; rank < ranks; ++rank) all.emplace_back(group, rank, one);
  std::vector<std::vector<double>> results(static_cast<size_t>(ranks * kExchanges));
  group.run([&](int rank, cudaStream_t stream) {
    Rank& own = all[static_cast<size_t>(rank)];
    std::mt19937 random(static_cast<uint32_t>(rank));
    for (int exchange = 0; exchange < kExchanges; ++exchange) {
      kernels::PeerBuffers peers = group.peers(rank);
      peers.capacity /= 32;
      peers.capacity *= 16;
      if (exchange % 2 == 1) {
        for (int peer = 0; peer < ranks; ++peer)
          peers.send[peer] = static_cast<char*>(peers.send[peer]) + peers.capacity;
      }
      const auto dawdle = [&] {
        if (random() % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
      };
      std::vector<double> x = own.x;
      for (double& value : x) value += exchange;
      own.input.upload(x);
      KRAKEN_CUDA(kernels::start_norm(one.spec, own.input.data(), own.input.data(), own.normalised.data(),
                                      peers.send[rank], stream, &peers));
      dawdle();
      KRAKEN_CUDA(kernels::join_norm_peers(one.spec, own.attention.data(), own.input.data(), peers,
                                           own.folded.data(), stream));
      KRAKEN_CUDA(cudaStreamSynchronize(stream));
      results[static_cast<size_t>(exchange * ranks + rank)] = own.folded.download();
      dawdle();
    }
  });
  for (int exchange = 0; exchange < kExchanges; ++exchange) {
    std::vector<double> sum(all[0].x.size(), 0.0);
    for (const Rank& rank : all) {
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += rank.x[i] + exchange;
    }
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<double> x = all[static_cast<size_t>(rank)].x;
      for (double& value : x) value += exchange;
      const std::vector<double> want = one.normalised(one.joined(all[static_cast<size_t>(rank)].a, x, sum));
      checks.push_back(
          expect_close("rotation R=" + std::to_string(ranks) + " exchange " + std::to_string(exchange),
                       results[static_cast<size_t>(exchange * ranks + rank)], want, 4e-5));
    }
  }
}

// Rank 0 comes late to a join; then an exchange of stamped moments is accounted for.
void check_times(Checks& checks, int ranks) {
  constexpr auto kLate = std::chrono::milliseconds(20);
  constexpr uint64_t kLateNanoseconds = std::chrono::nanoseconds(kLate).count();
  const NormCase one(NormKind::Layer, DType::Float32, 1, 2, 33, false);
  RankGroup group(ranks, one.count() * 4);
  std::vector<Rank> all;
  std::vector<DeviceMemory> memory;
  for (int rank = 0; rank < ranks; ++rank) {
    all.emplace_back(group, rank, one);
    memory.push_back(device_memory(sizeof(kernels::ExchangeTimes) + sizeof(kernels::ExchangeMoments)));
    KRAKEN_CUDA(cudaMemset(memory.back().get(), 0, sizeof(kernels::ExchangeTimes)));
  }
  std::vector<kernels::ExchangeTimes> joined(all.size()), stamped(all.size());
  group.run([&](int rank, cudaStream_t stream) {
    const auto index = static_cast<size_t>(rank);
    Rank& own = all[index];
    kernels::PeerBuffers peers = group.peers(rank);
    auto* times = reinterpret_cast<kernels::ExchangeTimes*>(memory[index].get());
    auto* moments = reinterpret_cast<kernels::ExchangeMoments*>(times + 1);
    peers.times = times;
    if (rank == 0) std::this_thread::sleep_for(kLate);
    KRAKEN_CUDA(kernels::start_norm(one.spec, own.input.data(), own.input.data(), own.normalised.data(),
                                    peers.send[rank], stream, &peers));
    KRAKEN_CUDA(kernels::join_norm_peers(one.spec, own.attention.data(), own.input.data(), peers,
                                         own.folded.data(), stream));
    const auto download = [&](kernels::ExchangeTimes& to) {
      KRAKEN_CUDA(cudaMemcpyAsync(&to, times, sizeof to, cudaMemcpyDefault, stream));
      KRAKEN_CUDA(cudaStreamSynchronize(stream));
    };
    download(joined[index]);
    KRAKEN_CUDA(kernels::stamp(&moments->started, stream));
    KRAKEN_CUDA(cudaStreamSynchronize(stream));
    std::this_thread::sleep_for(kLate);
    KRAKEN_CUDA(kernels::stamp(&moments->joined, stream));
    KRAKEN_CUDA(cudaStreamSynchronize(stream));
    std::this_thread::sleep_for(kLate);
    KRAKEN_CUDA(kernels::stamp(&moments->arrived, stream));
    KRAKEN_CUDA(kernels::account(moments, false, times, stream));
    KRAKEN_CUDA(kernels::account(moments, true, times, stream));
    download(stamped[index]);
  });
  for (size_t rank = 0; rank < all.size(); ++rank) {
    const kernels::ExchangeTimes &join = joined[rank], &both = stamped[rank];
    const uint64_t exposed = both.exposed - join.exposed, took = both.collective - join.collective;
    checks.push_back(expect_true("a join's times",
                                 join.exchanges == 1 && join.exposed == join.collective && join.hidden == 0));
    if (rank == 1) {  // whoever begins meets one that is late by that much, or began late itself
      checks.push_back(expect_true("a join that waits", join.exposed > 0));
    }
    checks.push_back(expect_true("stamped times, hidden and blocking",
                                 both.exchanges == 3 && took >= 4 * kLateNanoseconds &&
                                     exposed >= 3 * kLateNanoseconds && both.hidden >= kLateNanoseconds &&
                                     exposed + both.hidden == took));
  }
  checks.push_back(expect_error("no moment", kernels::stamp(nullptr, nullptr), cudaErrorInvalidValue));
  checks.push_back(
      expect_error("no times", kernels::account(nullptr, false, nullptr, nullptr), cudaErrorInvalidValue));
}

void check_lost(Checks& checks, int ranks) {
  const NormCase one(NormKind::Layer, DType::Float32, 1, 2, 33, false);
  constexpr std::chrono::nanoseconds kBound =
      std::chrono::seconds{1};  // Far beyond how late one that lives is.
  RankGroup group(ranks, one.count() * 4, kBound.count());
  std::vector<Rank> all;
  for (int rank = 0; rank < ranks; ++rank) all.emplace_back(group, rank, one);
  group.run([&](int rank, cudaStream_t stream) {
    if (rank == 0) return;
    Rank& own = all[static_cast<size_t>(rank)];
    const kernels::PeerBuffers& peers = group.peers(rank);
    KRAKEN_CUDA(kernels::start_norm(one.spec, own.input.data(), own.input.data(), own.normalised.data(),
                                    peers.send[rank], stream, &peers));
    KRAKEN_CUDA(kernels::join_norm_peers(one.spec, own.attention.data(), own.input.data(), peers,
                                         own.folded.data(), stream));
  });
  for (int rank = 1; rank < ranks; ++rank) {
    checks.push_back(expect_true("a folded join names the lost rank", group.error(rank) == 1));
  }
}

}  // namespace

Checks folded_join_checks(int ranks) {
  Checks checks;
  for (const DType dtype : kDTypes) {
    check(checks, ranks, NormCase(NormKind::Layer, dtype, 2, 3, 113));
    check(checks, ranks, NormCase(NormKind::Rms, dtype, 1, 2, 768, false));
    check(checks, ranks, NormCase(NormKind::Layer, dtype, 1, 40, 9));  // more tokens than blocks that wait
    check(checks, ranks, NormCase(NormKind::Layer, dtype, 2, 1, 4100));
  }
  check_rotation(checks, ranks);
  if (ranks > 1) check_times(checks, ranks);
  if (ranks > 1) check_lost(checks, ranks);
  return checks;
}

}  // namespace kraken::test
