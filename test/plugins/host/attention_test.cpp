// The attention plugin over the stand-in for CUDA: that it hands its kernels the right cache, layer, shapes
// and rotary angles, and refuses what does not fit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "group.h"

namespace kraken::plugins {
namespace {

constexpr int32_t kWays = 2, kHeads = 4, kKvHeads = 2, kHeadDim = 6, kBlockTokens = 4, kContext = 14;
constexpr int32_t kWidth = (kHeads + 2 * kKvHeads) * kHeadDim, kTable = 4;

Fields attention_fields(int32_t layer, int32_t last_tokens = 0) {
  Fields fields;
  fields.integer("layer", layer)
      .integer("ways", kWays)
      .integer("heads", kHeads)
      .integer("kv_heads", kKvHeads);
  fields.integer("head_dim", kHeadDim).number("scale", 0.4f).integer("rotary_dims", 4);
  fields.number("rotary_base", 100).integer("rotary_style", 1).integer("last_tokens", last_tokens);
  fields.integer("block_tokens", kBlockTokens).integer("max_context", kContext);
  return fields;
}

kraken_kv_cache_options cache_options() {
  kraken_kv_cache_options options{};
  options.struct_size = sizeof(options);
  options.element = KRAKEN_FLOAT32;
  options.layers = 2;
  options.heads = kWays * kKvHeads;
  options.head_dim = kHeadDim;
  options.block_tokens = kBlockTokens;
  options.blocks = 8;
  return options;
}

struct CacheDeleter {
  void operator()(kraken_kv_cache* cache) const { kraken_kv_cache_destroy(cache); }
};
using Cache = std::unique_ptr<kraken_kv_cache, CacheDeleter>;

Cache make_cache(kraken_kv_cache_options options = cache_options()) {
  return Cache(kraken_kv_cache_create(&options));
}

nvinfer1::IPluginV3OneRuntime& runtime_of(nvinfer1::IPluginV3& plugin) {
  return *static_cast<nvinfer1::IPluginV3OneRuntime*>(
      plugin.getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
}

std::unique_ptr<nvinfer1::IPluginV3> attach(kraken_kv_cache* cache, const Fields& fields) {
  const auto plugin = create_plugin("Attention", fields);
  if (!plugin) throw std::runtime_error(kraken_plugins_last_error());
  const kraken_binding binding = {nullptr, cache};
  kraken_bind(&binding);
  std::unique_ptr<nvinfer1::IPluginV3> attached(runtime_of(*plugin).attachToContext(nullptr));
  EXPECT_EQ(kraken_unbind(), cache != nullptr ? 1 : 0);
  return attached;
}

// Two sequences of 9 and 5 tokens, of which a step has some.
float activation(int32_t sequence, int64_t way, int64_t at, int32_t i) {
  return std::sin(static_cast<float>(1 + sequence * 7 + way * 31 + at * 13 + i * 3));
}

struct Step {
  std::vector<std::pair<int32_t, int32_t>> ranges;  // of each sequence: tokens before, and in this step
  std::vector<int32_t> wanted = {};
  std::vector<float> qkv = {}, out = {}, workspace = std::vector<float>(1 << 21);
  std::vector<int32_t> positions = {}, begins = {0}, past = {}, tables = {};

  void run(nvinfer1::IPluginV3& plugin, cudaStream_t stream) {
    for (const auto& [before, count] : ranges) {
      for (int32_t i = 0; i < count; ++i) positions.push_back(before + i);
      begins.push_back(begins.back() + count);
      past.push_back(before);
    }
    for (int32_t s = 0; s < static_cast<int32_t>(ranges.size()); ++s) {
      for (int32_t block = 0; block < kTable; ++block) tables.push_back((5 * (s * kTable + block) + 3) % 8);
    }
    for (int64_t way = 0; way < kWays; ++way) {
      for (size_t s = 0; s < ranges.size(); ++s) {
        for (int32_t i = 0; i < ranges[s].second; ++i) {
          for (int32_t x = 0; x < kWidth; ++x) {
            qkv.push_back(activation(static_cast<int32_t>(s), way, ranges[s].first + i, x));
          }
        }
      }
    }
    const int64_t tokens = begins.back(), sequences = static_cast<int64_t>(ranges.size());
    const int64_t rows = wanted.empty() ? tokens : static_cast<int64_t>(wanted.size());
    out.assign(static_cast<size_t>(kWays * rows * kHeads * kHeadDim), NAN);
    PluginCall call;
    call.input(qkv.data(), {kWays, tokens, kWidth}).input(positions.data(), {tokens});
    call.input(begins.data(), {sequences + 1}).input(past.data(), {sequences});
    call.input(tables.data(), {sequences, kTable});
    if (!wanted.empty()) call.input(wanted.data(), {rows});
    call.output(out.data(), {kWays, rows, kHeads * kHeadDim}).workspace(workspace.data());
    ASSERT_EQ(call.run(plugin, stream), 0) << kraken_plugins_last_error();
  }

  std::vector<float> row(int64_t way, int64_t at) const {
    const int64_t width = kHeads * kHeadDim, rows = static_cast<int64_t>(out.size()) / (kWays * width);
    const auto begin = out.begin() + (way * rows + at) * width;
    return {begin, begin + width};
  }
};

class AttentionOnTheHost : public testing::Test {
 protected:
  const Group streams_{1, [] {
                         kraken_communicator_options options{};
                         options.capacity = 1024;
                         return options;
                       }()};
  const cudaStream_t stream_ = streams_.stream(0);

  // What sequence 0's token 8 and sequence 1's token 4 attend to, in one unbound step from the beginning.
  Step whole() {
    Step step{{{0, 9}, {0, 5}}};
    const auto unbound = create_plugin("Attention", attention_fields(0));
    step.run(*unbound, stream_);
    fake_cuda::run(0);
    return step;
  }
};

void expect_near(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5f) << i;
}

// Rotary angles, causality and head grouping, written out once more for one head.
TEST_F(AttentionOnTheHost, UnboundAttendsWithinTheStep) {
  const Step step = whole();
  constexpr int32_t kHead = 3, kWay = 1, kAt = 4;  // of sequence 1; head 3 reads key/value head 1
  const auto turned = [&](int32_t at, int32_t head) {
    std::array<double, kHeadDim> x;
    for (int32_t i = 0; i < kHeadDim; ++i) x[i] = double{activation(1, kWay, at, head * kHeadDim + i)};
    for (const int32_t i : {0, 1}) {
      const double angle = at * std::pow(100.0, -2.0 * i / 4), a = x[i], b = x[i + 2];
      x[i] = a * std::cos(angle) - b * std::sin(angle);
      x[i + 2] = b * std::cos(angle) + a * std::sin(angle);
    }
    return x;
  };
  const auto query = turned(kAt, kHead);
  double total = 0;
  std::array<double, kHeadDim> sum{};
  for (int32_t at = 0; at <= kAt; ++at) {
    const auto key = turned(at, kHeads + 1);
    double score = 0;
    for (int32_t i = 0; i < kHeadDim; ++i) score += query[i] * key[i] * double{0.4f};
    total += std::exp(score);
    for (int32_t i = 0; i < kHeadDim; ++i) {
      sum[i] += std::exp(score) * double{activation(1, kWay, at, (kHeads + kKvHeads + 1) * kHeadDim + i)};
    }
  }
  const std::vector<float> row = step.row(kWay, 9 + kAt);
  for (int32_t i = 0; i < kHeadDim; ++i) EXPECT_NEAR(row[kHead * kHeadDim + i], sum[i] / total, 1e-5);
}

TEST_F(AttentionOnTheHost, TheCacheRemembersWhatStepsAppended) {
  const Step all = whole();
  const Cache cache = make_cache();
  ASSERT_NE(cache, nullptr) << kraken_plugins_last_error();
  const auto plugin = attach(cache.get(), attention_fields(1));
  Step prompt{{{0, 6}, {0, 2}}}, chunk{{{6, 2}, {2, 2}}}, decode{{{8, 1}, {4, 1}}};
  for (Step* step : {&prompt, &chunk, &decode}) step->run(*plugin, stream_);
  fake_cuda::run(0);
  for (int64_t way = 0; way < kWays; ++way) {
    expect_near(prompt.row(way, 5), all.row(way, 5));
    expect_near(chunk.row(way, 3), all.row(way, 9 + 3));
    expect_near(decode.row(way, 0), all.row(way, 8));
    expect_near(decode.row(way, 1), all.row(way, 9 + 4));
  }
}

// Another layer's keys are other keys: it must not read what layer 1 appended.
TEST_F(AttentionOnTheHost, LayersKeepApart) {
  const Cache cache = make_cache();
  const auto first = attach(cache.get(), attention_fields(0)),
             second = attach(cache.get(), attention_fields(1));
  Step prompt{{{0, 8}, {0, 4}}}, again{{{0, 8}, {0, 4}}}, decode{{{8, 1}, {4, 1}}};
  prompt.run(*first, stream_);
  fake_cuda::run(0);
  again.run(*second, stream_);
  for (float& value : again.qkv) value += 1;
  fake_cuda::run(0);
  decode.run(*first, stream_);
  fake_cuda::run(0);
  expect_near(decode.row(0, 0), whole().row(0, 8));
}

TEST_F(AttentionOnTheHost, LastTokensAreTheWantedRows) {
  const Step all = whole();
  const Cache cache = make_cache();
  const auto plugin = attach(cache.get(), attention_fields(0, 1));
  Step step{{{0, 9}, {0, 5}}, {8, 13}};
  step.run(*plugin, stream_);
  fake_cuda::run(0);
  for (int64_t way = 0; way < kWays; ++way) {
    expect_near(step.row(way, 0), all.row(way, 8));
    expect_near(step.row(way, 1), all.row(way, 13));
  }
}

TEST_F(AttentionOnTheHost, MayBeCapturedAllocatesNothingAndWaitsForNothing) {
  const Step all = whole();
  const Cache cache = make_cache();
  const auto plugin = attach(cache.get(), attention_fields(0));
  Step prompt{{{0, 8}, {0, 4}}}, decode{{{8, 1}, {4, 1}}};
  prompt.run(*plugin, stream_);
  fake_cuda::run(0);
  const fake_cuda::Counters before = fake_cuda::counters();
  fake_cuda::begin_capture();
  decode.run(*plugin, stream_);
  fake_cuda::Graph* graph = fake_cuda::end_capture(stream_);
  const fake_cuda::Counters after = fake_cuda::counters();
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(after.host_waits, before.host_waits);
  for (int replay = 0; replay < 2; ++replay) {
    std::fill(decode.out.begin(), decode.out.end(), NAN);
    fake_cuda::replay(graph);
    fake_cuda::run(0);
    expect_near(decode.row(1, 0), all.row(1, 8));
  }
  fake_cuda::destroy(graph);
}

bool says(const std::string& text) {
  return std::string(kraken_plugins_last_error()).find(text) != std::string::npos;
}
#define EXPECT_SAYS(text) EXPECT_TRUE(says(text)) << kraken_plugins_last_error()

struct CacheCase {
  void (*change)(kraken_kv_cache_options&);
  const char* message;
};
class CacheOfAnotherModel : public testing::TestWithParam<CacheCase> {};

TEST_P(CacheOfAnotherModel, IsRefusedWhenThePluginIsAttached) {
  kraken_kv_cache_options options = cache_options();
  GetParam().change(options);
  const Cache cache = make_cache(options);
  ASSERT_NE(cache, nullptr) << kraken_plugins_last_error();
  EXPECT_EQ(attach(cache.get(), attention_fields(1)), nullptr);
  EXPECT_SAYS(std::string("kraken: Attention: the bound key/value cache has ") + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    AttentionOnTheHost, CacheOfAnotherModel,
    testing::Values(CacheCase{[](auto& o) { o.heads = 2; }, "2 heads, this layer needs 4"},
                    CacheCase{[](auto& o) { o.head_dim = 8; }, "8 elements in a head, this layer needs 6"},
                    CacheCase{[](auto& o) { o.block_tokens = 8; }, "8 tokens in a block, this layer needs 4"},
                    CacheCase{[](auto& o) { o.layers = 1; }, "1 layers, this is layer 1"}));

TEST_F(AttentionOnTheHost, ACacheOfAnotherTypeIsRefused) {
  kraken_kv_cache_options options = cache_options();
  options.element = KRAKEN_FLOAT16;
  const Cache cache = make_cache(options);
  const auto plugin = attach(cache.get(), attention_fields(0));
  Step step{{{0, 2}}};
  PluginCall call;
  const std::vector<float> qkv(kWays * kWidth);
  std::vector<float> out(kWays * kHeads * kHeadDim);
  const std::vector<int32_t> zeros(4), begins = {0, 1};
  call.input(qkv.data(), {kWays, 1, kWidth}).input(zeros.data(), {1}).input(begins.data(), {2});
  call.input(zeros.data(), {1})
      .input(zeros.data(), {1, kTable})
      .output(out.data(), {kWays, 1, kHeads * kHeadDim});
  EXPECT_NE(call.run(*plugin, stream_), 0);
  EXPECT_SAYS("the bound key/value cache holds elements of another type than qkv");
}

class CacheOptions : public testing::TestWithParam<CacheCase> {};

TEST_P(CacheOptions, AreChecked) {
  kraken_kv_cache_options options = cache_options();
  GetParam().change(options);
  EXPECT_EQ(kraken_kv_cache_create(&options), nullptr);
  EXPECT_SAYS(std::string("kraken: key/value cache: ") + GetParam().message);
  EXPECT_LT(kraken_kv_cache_bytes(&options), 0);
}

INSTANTIATE_TEST_SUITE_P(
    AttentionOnTheHost, CacheOptions,
    testing::Values(CacheCase{[](auto& o) { o.struct_size = 8; }, "struct_size must be 28, got 8"},
                    CacheCase{[](auto& o) { o.element = 3; }, "element must be from 0 to 2, got 3"},
                    CacheCase{[](auto& o) { o.layers = 0; }, "layers must be from 1 to 65536, got 0"},
                    CacheCase{[](auto& o) { o.heads = 0; }, "heads must be from 1 to 65536, got 0"},
                    CacheCase{[](auto& o) { o.head_dim = 257; }, "head_dim must be from 1 to 256, got 257"},
                    CacheCase{[](auto& o) { o.block_tokens = 12; },
                              "block_tokens must be a power of two, got 12"},
                    CacheCase{[](auto& o) { o.blocks = 0; }, "blocks must be from 1 to 2147483647, got 0"},
                    CacheCase{[](auto& o) {
                                o.blocks = 0x7fffffff;
                                o.layers = o.heads = 65536;
                              },
                              "the cache would take more than 10^18 bytes"}));

TEST_F(AttentionOnTheHost, ACacheGivesItsMemoryBackAndSaysWhenThereIsNone) {
  kraken_kv_cache_options options = cache_options();
  // A row of 6 elements takes 8: whole vectors of 16 bytes.
  EXPECT_EQ(kraken_kv_cache_bytes(&options), 2 * 8 * 2 * 4 * kBlockTokens * 8 * 4);
  const int64_t before = fake_cuda::live_objects();
  EXPECT_NE(make_cache(), nullptr);
  EXPECT_EQ(fake_cuda::live_objects(), before);
  fake_cuda::fail_allocation_after(0);
  EXPECT_EQ(make_cache(), nullptr);
  fake_cuda::fail_allocation_after(-1);
  EXPECT_SAYS("allocating a key/value cache of 16384 bytes failed: out of memory");
  EXPECT_EQ(fake_cuda::live_objects(), before);
}

}  // namespace
}  // namespace kraken::plugins
