// What goes wrong, and what is said about it. Nothing aborts, and nothing computes with half of a group in
// silence.
#include <gtest/gtest.h>

#include <cmath>

#include "communicator/communicator.h"
#include "layers.h"

namespace kraken::plugins {
namespace {

constexpr int32_t kWidth = 4;
const std::vector<int64_t> kDims = {1, 2, kWidth}, kWeightDims = {1, kWidth};

kraken_communicator_options options_of(int64_t capacity = 1 << 10) {
  kraken_communicator_options options{};
  options.capacity = capacity;
  return options;
}

struct Tensors {
  Matrix x = {1, 2, 3, 5, 8, 13, 21, 34}, a = {1, 0, 1, 1, 2, 7, 1, 8}, out = Matrix(8),
         weight = Matrix(kWidth, 1.0f);
};

// A plugin of two matrices and a weight.
int32_t run_norm(nvinfer1::IPluginV3& plugin, Matrix& first, Tensors& t, cudaStream_t stream) {
  return PluginCall()
      .input(first.data(), kDims)
      .input(t.x.data(), kDims)
      .input(t.weight.data(), kWeightDims)
      .output(t.out.data(), kDims)
      .run(plugin, stream);
}

int32_t run_start(nvinfer1::IPluginV3& plugin, Tensors& t, cudaStream_t stream) {
  return run_norm(plugin, t.x, t, stream);
}

int32_t run_join(nvinfer1::IPluginV3& plugin, Tensors& t, cudaStream_t stream) {
  return run_norm(plugin, t.a, t, stream);
}

Fields start_fields(int32_t exchange) {
  Fields fields = norm_fields(exchange, 1, kWidth);
  fields.integer("joined_by_norm", 1);
  return fields;
}

void expect_norm_of(const Matrix& input, const Matrix& out) {
  const std::vector<double> expected =
      layer_norm({input.begin(), input.end()}, kWidth, Matrix(kWidth, 1.0f), 2);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], expected[i], 1e-5);
}

bool says(const std::string& text) {
  return std::string(kraken_plugins_last_error()).find(text) != std::string::npos;
}
#define EXPECT_SAYS(text) EXPECT_TRUE(says(text)) << kraken_plugins_last_error()

// As while TensorRT builds, when it may run a plugin alone to time it.
TEST(UnboundPlugins, WorkAlone) {
  const Group streams(1, options_of());
  const cudaStream_t stream = streams.stream(0);
  Tensors t;
  const auto start = create_plugin("StartNorm", start_fields(0));
  ASSERT_EQ(run_start(*start, t, stream), 0) << kraken_plugins_last_error();
  fake_cuda::run(0);
  expect_norm_of(t.x, t.out);

  const auto join = create_plugin("JoinNorm", norm_fields(0, 1, kWidth));
  ASSERT_EQ(run_join(*join, t, stream), 0);
  fake_cuda::run(0);
  expect_norm_of(t.a, t.out);

  const auto add = create_plugin("JoinAdd", Fields().integer("exchange", 0).integer("width", kWidth));
  ASSERT_EQ(PluginCall().input(t.x.data(), kDims).output(t.out.data(), kDims).run(*add, stream), 0);
  fake_cuda::run(0);
  EXPECT_EQ(t.out, t.x);

  const auto all_reduce = create_plugin("AllReduce", {});
  ASSERT_EQ(PluginCall().input(t.a.data(), kDims).output(t.out.data(), kDims).run(*all_reduce, stream), 0);
  fake_cuda::run(0);
  EXPECT_EQ(t.out, t.a);
}

TEST(Binding, CountsThePluginsThatTookTheCommunicator) {
  const Group group(1, options_of());
  const auto plugin = create_plugin("AllReduce", {});
  auto* runtime = static_cast<nvinfer1::IPluginV3OneRuntime*>(
      plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
  const kraken_binding binding = {group.communicator(0), nullptr};
  kraken_bind(&binding);
  const std::unique_ptr<nvinfer1::IPluginV3> one(runtime->attachToContext(nullptr));
  const std::unique_ptr<nvinfer1::IPluginV3> two(runtime->attachToContext(nullptr));
  std::unique_ptr<nvinfer1::IPluginV3> elsewhere;
  std::thread([&] { elsewhere.reset(runtime->attachToContext(nullptr)); }).join();
  EXPECT_EQ(kraken_unbind(), 2);
  kraken_bind(nullptr);
  const std::unique_ptr<nvinfer1::IPluginV3> unbound(runtime->attachToContext(nullptr));
  EXPECT_EQ(kraken_unbind(), 0);
}

TEST(Failures, JoinWithoutStart) {
  const Group group(1, options_of());
  Tensors t;
  const auto join = group.attach(0, "JoinNorm", norm_fields(3, 1, kWidth));
  EXPECT_NE(run_join(*join, t, group.stream(0)), 0);
  EXPECT_SAYS("kraken: JoinNorm: cannot join exchange 3: it was not prepared");
}

TEST(Failures, StartTwice) {
  const Group group(1, options_of());
  Tensors t;
  const auto start = group.attach(0, "StartNorm", start_fields(0));
  ASSERT_EQ(run_start(*start, t, group.stream(0)), 0) << kraken_plugins_last_error();
  EXPECT_NE(run_start(*start, t, group.stream(0)), 0);
  EXPECT_SAYS("cannot start exchange 0: it is under way");
  const auto same_buffers = group.attach(0, "StartNorm", start_fields(4));
  EXPECT_NE(run_start(*same_buffers, t, group.stream(0)), 0);
  EXPECT_SAYS("cannot start exchange 4: exchange 0 of the same buffers has not been joined");
  fake_cuda::run(0);
}

TEST(Failures, MoreTokensThanTheCommunicatorWasMadeFor) {
  const Group group(1, options_of(16));
  Tensors t;
  const auto start = group.attach(0, "StartNorm", start_fields(0));
  EXPECT_NE(run_start(*start, t, group.stream(0)), 0);
  EXPECT_SAYS("exchange 0 has 32 bytes, the communicator was made for 16");
}

// A blocking sum has no such bound: it goes in pieces.
TEST(AllReduce, OfMoreThanABufferHolds) {
  const Group group(2, options_of(16));
  std::array<Matrix, 2> in, out;
  std::array<std::unique_ptr<nvinfer1::IPluginV3>, 2> plugins;
  constexpr int32_t kCount = 1001;
  for (int32_t rank = 0; rank < 2; ++rank) {
    out[rank].resize(kCount);
    for (int32_t i = 0; i < kCount; ++i) in[rank].push_back(static_cast<float>((rank + 1) * i));
    plugins[rank] = group.attach(rank, "AllReduce", {});
    ASSERT_EQ(PluginCall()
                  .input(in[rank].data(), {kCount})
                  .output(out[rank].data(), {kCount})
                  .run(*plugins[rank], group.stream(rank)),
              0)
        << kraken_plugins_last_error();
  }
  fake_cuda::run(0);
  for (int32_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(out[0][i], static_cast<float>(3 * i));
    ASSERT_EQ(out[1][i], out[0][i]);
  }
}

TEST(Failures, JoinAddOfAnExchangeThatANormShouldEnd) {
  kraken_communicator_options options = options_of();
  options.algorithms = "* * * folded *\n";
  const Group group(1, options);
  Tensors t;
  const auto start = group.attach(0, "StartNorm", start_fields(0));
  ASSERT_EQ(run_start(*start, t, group.stream(0)), 0) << kraken_plugins_last_error();
  const auto add = group.attach(0, "JoinAdd", Fields().integer("exchange", 0).integer("width", kWidth));
  EXPECT_NE(PluginCall().input(t.x.data(), kDims).output(t.out.data(), kDims).run(*add, group.stream(0)), 0);
  EXPECT_SAYS("the exchange was started as one that a JoinNorm ends");
  fake_cuda::run(0);
}

TEST(Failures, ALostPeerIsNamed) {
  const Group group(2, options_of());
  EXPECT_EQ(kraken_communicator_status(group.communicator(0)), 0);
  fake_cuda::lose_peer(1);
  const auto all_reduce = group.attach(0, "AllReduce", {});
  Tensors t;
  ASSERT_EQ(
      PluginCall().input(t.x.data(), kDims).output(t.out.data(), kDims).run(*all_reduce, group.stream(0)), 0);
  fake_cuda::run(0);
  fake_cuda::lose_peer(-1);
  EXPECT_NE(kraken_communicator_status(group.communicator(0)), 0);
  EXPECT_SAYS("rank 1 did not come to a collective in time");
}

struct OptionCase {
  void (*change)(kraken_communicator_options&);
  const char* message;
};
class CommunicatorOptions : public testing::TestWithParam<OptionCase> {};

TEST_P(CommunicatorOptions, AreChecked) {
  kraken_communicator_options options = options_of();
  options.struct_size = sizeof(options);
  options.ranks = 1;
  GetParam().change(options);
  EXPECT_EQ(kraken_communicator_create(&options), nullptr);
  EXPECT_SAYS(GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Failures, CommunicatorOptions,
    testing::Values(OptionCase{[](auto& o) { o.struct_size = 8; }, "struct_size must be"},
                    OptionCase{[](auto& o) { o.ranks = 0; }, "ranks must be 1 to 8, got 0"},
                    OptionCase{[](auto& o) { o.ranks = 9; }, "ranks must be 1 to 8, got 9"},
                    OptionCase{[](auto& o) { o.rank = 1; }, "rank must be below ranks (1), got 1"},
                    OptionCase{[](auto& o) { o.capacity = 0; }, "capacity must be above 0 bytes, got 0"},
                    OptionCase{[](auto& o) { o.ranks = 2; }, "more than one rank need all_gather"},
                    OptionCase{[](auto& o) { o.transport = 3; }, "transport must be 0, 1 or 2, got 3"},
                    OptionCase{[](auto& o) { o.algorithms = "nonsense\n"; }, "algorithms"}));

TEST(Failures, NoPeerAccessAndNoNccl) {
  kraken_communicator_options options = options_of();
  options.transport = KRAKEN_TRANSPORT_PEER;
  fake_cuda::set_devices(2, false);
  const int64_t before = fake_cuda::live_objects();
  {
    const Group group(2, options, {0, 1});
    EXPECT_EQ(group.communicator(0), nullptr);
    EXPECT_EQ(group.error(0),
              "kraken: communicator: rank 0 does not reach rank 1: has no peer access; NCCL would do "
              "without, but it "
              "was ruled out");
    EXPECT_NE(group.error(1), "");
  }
  EXPECT_EQ(fake_cuda::live_objects(), before);
  options.transport = KRAKEN_TRANSPORT_AUTO;
  const Group group(2, options, {0, 1});
  ASSERT_NE(group.communicator(0), nullptr) << group.error(0);
  EXPECT_STREQ(kraken_communicator_transport(group.communicator(0)), "NCCL 2.32");
  fake_cuda::set_devices(1, true);
}

// Whichever allocation fails, the error names it and nothing stays behind.
TEST(Failures, OutOfMemory) {
  const int64_t before = fake_cuda::live_objects();
  for (int64_t allocations = 0; allocations < 2; ++allocations) {
    kraken_communicator_options options = options_of();
    options.struct_size = sizeof(options);
    options.ranks = 1;
    fake_cuda::fail_allocation_after(allocations);
    EXPECT_EQ(kraken_communicator_create(&options), nullptr);
    EXPECT_SAYS("out of memory (cudaErrorMemoryAllocation)");
    EXPECT_EQ(fake_cuda::live_objects(), before);
  }
  fake_cuda::fail_allocation_after(-1);
}

// The others learn of it instead of waiting for ever.
TEST(Failures, OutOfMemoryOnOneRank) {
  const int64_t before = fake_cuda::live_objects();
  {
    fake_cuda::fail_allocation_after(1);
    const Group group(2, options_of());
    fake_cuda::fail_allocation_after(-1);
    const bool first_failed = group.error(0).find("out of memory") != std::string::npos;
    const int32_t failed = first_failed ? 0 : 1;
    EXPECT_NE(group.error(failed).find("out of memory"), std::string::npos) << group.error(failed);
    EXPECT_EQ(group.error(1 - failed),
              "kraken: communicator: rank " + std::to_string(failed) + " has no room for exchange buffers");
  }
  EXPECT_EQ(fake_cuda::live_objects(), before);
}

}  // namespace
}  // namespace kraken::plugins
