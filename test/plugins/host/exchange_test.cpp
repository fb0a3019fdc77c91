// Exchanges of several ranks in every order that the streams allow: sums must be right, whatever runs first.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "kernels/algorithm.h"
#include "layers.h"

namespace kraken::plugins {
namespace {

using kernels::Algorithm;

std::string only(Algorithm algorithm) {
  const bool kernel = algorithm != Algorithm::Folded && algorithm != Algorithm::Nccl;
  std::string line = std::string("* * * ") + kernels::name_of(algorithm) + (kernel ? " 4\n" : " *\n");
  // What no norm ends cannot be folded.
  if (algorithm == Algorithm::Folded)
    line += std::string("* * * ") + kernels::name_of(Algorithm::OneShot) + " 4\n";
  return line;
}

kraken_communicator_options options_for(const std::string& algorithms, int64_t capacity = 1 << 12) {
  kraken_communicator_options options{};
  options.capacity = capacity;
  options.algorithms = algorithms.c_str();
  return options;
}

struct Case {
  int32_t ranks, ways;
  Algorithm algorithm;
};
class ExchangeOrders : public testing::TestWithParam<Case> {};

TEST_P(ExchangeOrders, EveryOrderGivesTheSameSums) {
  const std::string table = only(GetParam().algorithm);
  fake_cuda::set_devices(4, true);
  const bool uses_nccl = GetParam().algorithm == Algorithm::Nccl;  // which wants a device for each rank
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Group group(GetParam().ranks, options_for(table),
                uses_nccl ? std::vector<int>{0, 1, 2, 3} : std::vector<int>{});
    if (uses_nccl) {
      ASSERT_STREQ(kraken_communicator_transport(group.communicator(0)), "peer memory and NCCL 2.32");
    }
    KrakenLayers layers(group, {GetParam().ranks, GetParam().ways, 6, 5}, 4);
    // Steps of different lengths one after another, without the host ever waiting.
    int64_t step = 0;
    for (const int64_t tokens : {3, 1, 4, 1}) layers.enqueue(step++, tokens);
    fake_cuda::run(seed);
    EXPECT_LT(layers.worst_error(), 1e-5) << "seed " << seed;
  }
  fake_cuda::set_devices(1, true);
}

INSTANTIATE_TEST_SUITE_P(Exchanges, ExchangeOrders,
                         testing::Values(Case{1, 2, Algorithm::TwoShot}, Case{2, 1, Algorithm::Folded},
                                         Case{2, 1, Algorithm::OneShot}, Case{2, 2, Algorithm::TwoShot},
                                         Case{2, 2, Algorithm::Nccl}, Case{4, 1, Algorithm::Folded},
                                         Case{4, 2, Algorithm::OneShot}, Case{4, 1, Algorithm::TwoShot},
                                         Case{4, 1, Algorithm::Nccl}),
                         [](const auto& info) {
                           std::string name = kernels::name_of(info.param.algorithm);
                           std::erase_if(
                               name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
                           return name + std::to_string(info.param.ranks) + "x" +
                                  std::to_string(info.param.ways);
                         });

TEST(Exchanges, NcclAloneServesRanksThatDoNotReachEachOther) {
  fake_cuda::set_devices(2, true);
  kraken_communicator_options options = options_for("");
  options.algorithms = nullptr;
  options.transport = KRAKEN_TRANSPORT_NCCL;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    Group group(2, options, {0, 1});
    ASSERT_NE(group.communicator(0), nullptr) << group.error(0);
    ASSERT_STREQ(kraken_communicator_transport(group.communicator(0)), "NCCL 2.32");
    KrakenLayers layers(group, {2, 2, 5, 5}, 3);
    for (int64_t step = 0; step < 2; ++step) layers.enqueue(step, 3);
    fake_cuda::run(seed);
    EXPECT_LT(layers.worst_error(), 1e-5) << "seed " << seed;
  }
}

// Ladder-Residual: each module reads the stream without the output of the module right before it, so an
// exchange starts before the last one is joined.
TEST(Exchanges, TwoUnderWayAtOnce) {
  constexpr int32_t kRanks = 2, kWidth = 3, kModules = 7;
  const std::string table = only(Algorithm::OneShot);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Group group(kRanks, options_for(table));
    const Matrix weight(kWidth, 1.0f);
    struct Rank {
      Matrix x = Matrix(kWidth, 1.0f), out = Matrix(kWidth), n = Matrix(kWidth);
      std::vector<std::unique_ptr<nvinfer1::IPluginV3>> start, join;
    };
    std::array<Rank, kRanks> ranks;
    const std::vector<int64_t> dims = {1, 1, kWidth}, weight_dims = {1, kWidth};
    for (int32_t rank = 0; rank < kRanks; ++rank) {
      Rank& r = ranks[rank];
      for (int32_t i = 0; i < kWidth; ++i) r.out[i] = start_value(0, rank, i);
      const cudaStream_t stream = group.stream(rank);
      for (int32_t module = 0; module < kModules; ++module) {
        Fields fields = norm_fields(module, 1, kWidth);
        r.start.push_back(group.attach(rank, "StartNorm", fields.integer("joined_by_norm", 0)));
        r.join.push_back(
            group.attach(rank, "JoinAdd", Fields().integer("exchange", module).integer("width", kWidth)));
      }
      const auto start = [&](int32_t module) {
        ASSERT_EQ(PluginCall()
                      .input(r.out.data(), dims)
                      .input(r.x.data(), dims)
                      .input(weight.data(), weight_dims)
                      .output(r.n.data(), dims)
                      .run(*r.start[module], stream),
                  0)
            << kraken_plugins_last_error();
      };
      start(0);
      for (int32_t module = 1; module < kModules; ++module) {
        on_stream(stream, [&r] {  // the next module's output, while the last one's travels
          for (int32_t i = 0; i < kWidth; ++i) r.out[i] = r.out[i] / 2 + r.n[i];
        });
        start(module);
        ASSERT_EQ(
            PluginCall().input(r.x.data(), dims).output(r.x.data(), dims).run(*r.join[module - 1], stream), 0)
            << kraken_plugins_last_error();
      }
    }
    fake_cuda::run(seed);

    std::array<std::vector<double>, kRanks> out;
    std::vector<double> x(kWidth, 1.0);
    for (int32_t rank = 0; rank < kRanks; ++rank) {
      for (int32_t i = 0; i < kWidth; ++i) out[rank].push_back(start_value(0, rank, i));
    }
    std::vector<double> n = layer_norm(x, kWidth, weight, 1);
    for (int32_t module = 1; module < kModules; ++module) {
      const std::vector<double> sum = {out[0][0] + out[1][0], out[0][1] + out[1][1], out[0][2] + out[1][2]};
      for (std::vector<double>& of_rank : out) {
        for (int32_t i = 0; i < kWidth; ++i) of_rank[i] = of_rank[i] / 2 + n[i];
      }
      n = layer_norm(x, kWidth, weight, 1);
      for (int32_t i = 0; i < kWidth; ++i) x[i] += sum[i];
    }
    for (const Rank& r : ranks) {
      for (int32_t i = 0; i < kWidth; ++i) EXPECT_NEAR(r.x[i], x[i], 1e-4) << "seed " << seed;
    }
  }
}

// A blocking sum on the main stream while an exchange travels on the side stream: the ranks may come to the
// two in either order, so each needs flags of its own.
TEST(Exchanges, ABlockingSumMayComeBetweenStartAndJoin) {
  constexpr int32_t kWidth = 3;
  const std::string table = only(Algorithm::OneShot);
  const std::vector<int64_t> dims = {1, 1, kWidth}, weight_dims = {1, kWidth};
  const Matrix weight(kWidth, 1.0f);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Group group(2, options_for(table));
    struct Rank {
      Matrix x, n = Matrix(kWidth), blocking, joined = Matrix(kWidth);
      std::vector<std::unique_ptr<nvinfer1::IPluginV3>> plugins;
    };
    std::array<Rank, 2> ranks;
    for (int32_t rank = 0; rank < 2; ++rank) {
      Rank& r = ranks[rank];
      for (int32_t i = 0; i < kWidth; ++i) r.x.push_back(static_cast<float>(1 + i + 10 * rank));
      r.blocking = Matrix(kWidth, static_cast<float>(rank + 1));
      Fields start = norm_fields(0, 1, kWidth);
      r.plugins.push_back(group.attach(rank, "StartNorm", start.integer("joined_by_norm", 0)));
      r.plugins.push_back(group.attach(rank, "AllReduce", {}));
      r.plugins.push_back(
          group.attach(rank, "JoinAdd", Fields().integer("exchange", 0).integer("width", kWidth)));
      const cudaStream_t stream = group.stream(rank);
      PluginCall start_call, reduce_call, join_call;
      start_call.input(r.x.data(), dims).input(r.x.data(), dims).input(weight.data(), weight_dims);
      ASSERT_EQ(start_call.output(r.n.data(), dims).run(*r.plugins[0], stream), 0)
          << kraken_plugins_last_error();
      reduce_call.input(r.blocking.data(), dims).output(r.blocking.data(), dims);
      ASSERT_EQ(reduce_call.run(*r.plugins[1], stream), 0) << kraken_plugins_last_error();
      join_call.input(r.x.data(), dims).output(r.joined.data(), dims);
      ASSERT_EQ(join_call.run(*r.plugins[2], stream), 0) << kraken_plugins_last_error();
    }
    fake_cuda::run(seed);
    for (int32_t rank = 0; rank < 2; ++rank) {
      for (int32_t i = 0; i < kWidth; ++i) {
        EXPECT_EQ(ranks[rank].blocking[i], 3.0f) << "seed " << seed;
        EXPECT_EQ(ranks[rank].joined[i], ranks[rank].x[i] + static_cast<float>(12 + 2 * i))
            << "seed " << seed;
      }
    }
  }
}

TEST(Exchanges, RunningAllocatesNothingAndNeverWaits) {
  const std::string table = only(Algorithm::TwoShot);
  Group group(2, options_for(table));
  KrakenLayers layers(group, {2, 1, 4, 5}, 4);
  const fake_cuda::Counters before = fake_cuda::counters();
  for (int64_t step = 0; step < 3; ++step) layers.enqueue(step, 4);
  const fake_cuda::Counters after = fake_cuda::counters();
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(after.creations, before.creations);
  EXPECT_EQ(after.host_waits, before.host_waits);
  EXPECT_EQ(after.host_functions, before.host_functions);
  EXPECT_GT(after.events_recorded, before.events_recorded);
  fake_cuda::run(1);
}

TEST(Exchanges, AStepMayBeCapturedAndReplayed) {
  for (const Algorithm algorithm : {Algorithm::Folded, Algorithm::TwoShot}) {
    const std::string table = only(algorithm);
    Group group(2, options_for(table));
    KrakenLayers layers(group, {2, 2, 6, 5}, 4);
    // Both ranks' graphs at once, as fake_cuda captures all streams; each must be whole by itself.
    std::vector<fake_cuda::Graph*> graphs;
    for (int32_t rank = 0; rank < 2; ++rank) {
      fake_cuda::begin_capture();
      layers.enqueue_rank(rank, 0, 3);
      graphs.push_back(fake_cuda::end_capture(group.stream(rank)));
    }
    constexpr int kReplays = 5;
    for (int i = 0; i < kReplays; ++i) {
      for (const fake_cuda::Graph* graph : graphs) fake_cuda::replay(graph);
      layers.expect_step(0, 3);
    }
    fake_cuda::run(3);
    EXPECT_LT(layers.worst_error(), 1e-5);
    for (fake_cuda::Graph* graph : graphs) fake_cuda::destroy(graph);
  }
}

TEST(Exchanges, StallsHoldEitherStreamBackAndChangeNothing) {
  const std::string table = only(Algorithm::OneShot);
  for (const auto& [side, main] : {std::pair{500, 0}, std::pair{0, 500}}) {
    kraken_communicator_options options = options_for(table);
    options.stall_side_microseconds = side;
    options.stall_main_microseconds = main;
    Group group(2, options);
    KrakenLayers layers(group, {2, 1, 4, 5}, 4);
    const int64_t before = fake_cuda::counters().host_functions;
    for (int64_t step = 0; step < 2; ++step) layers.enqueue(step, 4);
    EXPECT_EQ(fake_cuda::counters().host_functions - before, 2 * 2 * 4);  // ranks · steps · exchanges
    fake_cuda::run(5);
    EXPECT_LT(layers.worst_error(), 1e-5);
  }
}

// Two engines of one process, each with a communicator of its own, running at the same time.
TEST(Exchanges, TwoGroupsDoNotMeet) {
  const std::string table = only(Algorithm::Folded);
  Group first(2, options_for(table)), second(2, options_for(table));
  KrakenLayers a(first, {2, 1, 3, 5}, 4), b(second, {2, 2, 5, 4}, 4);
  a.enqueue(0, 2);
  b.enqueue(0, 4);
  a.enqueue(1, 4);
  fake_cuda::run(9);
  EXPECT_LT(a.worst_error(), 1e-5);
  EXPECT_LT(b.worst_error(), 1e-5);
}

TEST(Exchanges, GivesEverythingBack) {
  const int64_t before = fake_cuda::live_objects();
  {
    const std::string table = only(Algorithm::TwoShot);
    Group group(2, options_for(table));
    EXPECT_GT(fake_cuda::live_objects(), before);
  }
  EXPECT_EQ(fake_cuda::live_objects(), before);
}

}  // namespace
}  // namespace kraken::plugins
