#include "attention_gpu.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "attention.h"
#include "values.h"

namespace kraken::test {
namespace {

using kernels::AttentionShape;
using kernels::AttentionSpec;

constexpr int32_t kBlockTokens = 64;

// So many values, of which the first 10007 are random: to draw millions would take longer than the
// measurement.
std::vector<double> many_values(DType dtype, size_t count, uint32_t seed) {
  std::vector<double> values = random_values(dtype, 10007, seed);
  const size_t period = values.size();
  values.resize(count);
  for (size_t i = period; i < count; ++i) values[i] = values[i - period];
  return values;
}

// Sequences of equal length over one cache, each with blocks of its own.
class Sequences {
 public:
  Sequences(const AttentionShape& shape, int64_t count, int64_t new_tokens, int64_t max_context)
      : width_((max_context + kBlockTokens - 1) / kBlockTokens),
        tokens_(count * new_tokens),
        cache_bytes_(static_cast<size_t>(count * width_ * kernels::kv_block_bytes(shape, kBlockTokens))),
        qkv_(shape.dtype, shape.ways * tokens_ * (shape.heads + 2 * shape.kv_heads) * shape.head_dim),
        out_(shape.dtype, shape.ways * tokens_ * shape.heads * shape.head_dim),
        cache_(device_memory(cache_bytes_)),
        workspace_(device_memory(static_cast<size_t>(kernels::attention_workspace(shape, tokens_)))),
        integers_(device_memory(static_cast<size_t>(tokens_ + 2 * count + 1 + count * width_) * 4)) {
    qkv_.upload(many_values(shape.dtype, qkv_.size(), 1));
    KRAKEN_CUDA(cudaMemset(cache_.get(), 0x3c, cache_bytes_));  // 0.01 in bfloat16, 1.06 in float16
    spec_.shape = shape;
    spec_.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
    spec_.tokens = spec_.rows = tokens_;
    spec_.sequences = count;
    spec_.table_width = width_;
    spec_.block_tokens = kBlockTokens;
    spec_.cache_blocks = count * width_;
    spec_.qkv = qkv_.data();
    spec_.out = out_.data();
    spec_.cache = cache_.get();
    spec_.workspace = workspace_.get();
    const auto* at = reinterpret_cast<const int32_t*>(integers_.get());
    spec_.positions = at;
    spec_.sequence_begins = at += tokens_;
    spec_.past_lengths = at += count + 1;
    spec_.block_tables = at += count;
  }

  // Every sequence has so many tokens in the cache; blocks are dealt in an order of `seed`.
  void set_past(int64_t past, uint32_t seed) {
    const int64_t each = spec_.tokens / spec_.sequences;
    std::vector<int32_t> values;
    for (int64_t i = 0; i < spec_.tokens; ++i) values.push_back(static_cast<int32_t>(past + i % each));
    for (int64_t i = 0; i <= spec_.sequences; ++i) values.push_back(static_cast<int32_t>(i * each));
    values.insert(values.end(), static_cast<size_t>(spec_.sequences), static_cast<int32_t>(past));
    std::vector<int32_t> blocks(static_cast<size_t>(spec_.cache_blocks));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(seed));
    values.insert(values.end(), blocks.begin(), blocks.end());
    KRAKEN_CUDA(cudaMemcpy(integers_.get(), values.data(), values.size() * 4, cudaMemcpyDefault));
    KRAKEN_CUDA(cudaStreamSynchronize(nullptr));
  }

  void fill_cache() {
    const DType dtype = spec_.shape.dtype;
    std::vector<char> bytes(cache_bytes_);
    const auto element = static_cast<size_t>(kernels::size_of(dtype));
    const std::vector<double> values = many_values(dtype, cache_bytes_ / element, 3);
    for (size_t i = 0; i < values.size(); ++i) {
      encode(dtype, static_cast<float>(values[i]), &bytes[i * element]);
    }
    KRAKEN_CUDA(cudaMemcpy(cache_.get(), bytes.data(), bytes.size(), cudaMemcpyDefault));
  }

  void run(cudaStream_t stream) const { KRAKEN_CUDA(kernels::attention(spec_, stream)); }
  Array& out() { return out_; }

 private:
  int64_t width_, tokens_;
  size_t cache_bytes_;
  Array qkv_, out_;
  DeviceMemory cache_, workspace_, integers_;
  AttentionSpec spec_;
};

double copy_rate(const Scale& scale) {
  const auto bytes = static_cast<size_t>(scale.copy_bytes);
  const DeviceMemory from = device_memory(bytes), to = device_memory(bytes);
  const double time = best_time(
      [&] { KRAKEN_CUDA(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDefault, nullptr)); }, nullptr,
      scale.turns);
  return 2 * static_cast<double>(bytes) / time / 1e3;
}

struct Prompt {
  int32_t heads, kv_heads, head_dim;
  int64_t tokens, past;
};
constexpr Prompt kPrompts[] = {{16, 16, 128, 4096, 0},
                               {16, 16, 113, 4096, 0},
                               {16, 16, 209, 4096, 0},
                               {16, 16, 64, 512, 0},
                               {32, 8, 128, 512, 8192}};

struct Decoding {
  int32_t heads, kv_heads, head_dim;
  int64_t sequences, past;
};
constexpr Decoding kDecodings[] = {
    {16, 16, 128, 1, 32767}, {16, 16, 113, 1, 32767}, {16, 16, 128, 64, 2047}, {32, 8, 128, 64, 2047}};

std::string name_of(int32_t heads, int32_t kv_heads, int32_t head_dim) {
  return " bf16 h=" + std::to_string(heads) + "/" + std::to_string(kv_heads) +
         " hd=" + std::to_string(head_dim);
}

}  // namespace

Checks attention_graph_checks() {
  const AttentionShape shape{DType::BFloat16, 2, 4, 2, 113};
  Sequences sequences(shape, 5, 1, 700);
  sequences.fill_cache();
  cudaStream_t stream = nullptr;
  KRAKEN_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const auto result = [&](auto enqueue) {
    sequences.out().fill_with_nan();
    enqueue();
    KRAKEN_CUDA(cudaStreamSynchronize(stream));
    return sequences.out().download();
  };
  sequences.set_past(7, 1);
  sequences.run(stream);
  cudaGraph_t graph = nullptr;
  KRAKEN_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  sequences.run(stream);
  KRAKEN_CUDA(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t replay = nullptr;
  KRAKEN_CUDA(cudaGraphInstantiate(&replay, graph, 0));
  Checks checks;
  for (const int64_t past : {7, 0, 300, 699}) {
    sequences.set_past(past, static_cast<uint32_t>(past));
    const std::vector<double> want = result([&] { sequences.run(stream); });
    checks.push_back(expect_same("captured attention, " + std::to_string(past) + " tokens before",
                                 result([&] { KRAKEN_CUDA(cudaGraphLaunch(replay, stream)); }), want));
    checks.push_back(
        expect_true("it writes every row", !std::isnan(want.front()) && !std::isnan(want.back())));
  }
  KRAKEN_CUDA(cudaGraphExecDestroy(replay));
  KRAKEN_CUDA(cudaGraphDestroy(graph));
  KRAKEN_CUDA(cudaStreamDestroy(stream));
  return checks;
}

void measure_attention(Report& report, const Scale& scale) {
  KRAKEN_CUDA(cudaSetDevice(0));
  for (const Prompt& one : kPrompts) {
    const int64_t tokens = std::min(one.tokens, 2 * scale.tokens),
                  past = std::min(one.past, 4 * scale.tokens);
    Sequences sequences({DType::BFloat16, 1, one.heads, one.kv_heads, one.head_dim}, 1, tokens,
                        tokens + past);
    sequences.set_past(past, 1);
    const double time = best_time([&] { sequences.run(nullptr); }, nullptr, scale.turns);
    const auto count = static_cast<double>(tokens);
    const double scores = count * static_cast<double>(past) + count * (count + 1) / 2;
    report.add_figure("attention" + name_of(one.heads, one.kv_heads, one.head_dim) +
                          " T=" + std::to_string(tokens) + " past=" + std::to_string(past),
                      time, "us");
    report.add_figure("  useful work", 4 * scores * one.heads * one.head_dim / time / 1e6, "TFLOP/s");
  }
  const double ceiling = copy_rate(scale);
  report.add_figure("copy", ceiling, "GB/s");
  for (const Decoding& one : kDecodings) {
    const int64_t count = std::min(one.sequences, scale.tokens),
                  past = std::min(one.past, 16 * scale.tokens - 1);
    const AttentionShape shape{DType::BFloat16, 1, one.heads, one.kv_heads, one.head_dim};
    Sequences sequences(shape, count, 1, past + 1);
    sequences.set_past(past, 1);
    const double time = best_time([&] { sequences.run(nullptr); }, nullptr, scale.turns);
    const double bytes =
        static_cast<double>(count * (past + 1)) * static_cast<double>(kernels::kv_block_bytes(shape, 1));
    report.add_figure("decode" + name_of(one.heads, one.kv_heads, one.head_dim) +
                          " S=" + std::to_string(count) + " past=" + std::to_string(past),
                      time, "us");
    report.add_figure("  keys and values, of the copy's rate", 100 * bytes / time / 1e3 / ceiling, "%");
  }
}

}  // namespace kraken::test
