// The attention's launcher over fake_cuda: the same arithmetic in double, float32 tensors only, and the same
// place in the cache for every key and value. The real bodies have tests of their own.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "fake_cuda.h"
#include "kernels/attention.h"

namespace kraken::kernels {
namespace {

class Step {
 public:
  explicit Step(const AttentionSpec& spec)
      : spec_(spec), shape_(spec.shape), block_tokens_(spec.cache ? spec.block_tokens : spec.tokens) {}

  void run() const {
    for (int64_t s = 0; s < spec_.sequences; ++s) {
      for (int32_t token = begin(s); token < begin(s + 1); ++token) append(s, token);
    }
    for (int64_t row = 0; row < spec_.rows; ++row) {
      const int32_t token = spec_.wanted_rows ? spec_.wanted_rows[row] : static_cast<int32_t>(row);
      int64_t s = 0;
      while (begin(s + 1) <= token) ++s;
      for (int32_t head = 0; head < shape_.ways * shape_.heads; ++head) attend(s, token, row, head);
    }
  }

 private:
  int32_t begin(int64_t s) const { return spec_.sequence_begins[s]; }
  int32_t past(int64_t s) const { return spec_.cache ? spec_.past_lengths[s] : 0; }

  // Rotated. `head` counts queries', then keys', then values' heads of the way.
  std::vector<double> vector_of(int32_t way, int32_t token, int32_t head) const {
    const int64_t heads = shape_.heads + 2 * shape_.kv_heads, hd = shape_.head_dim;
    const float* from =
        static_cast<const float*>(spec_.qkv) + ((way * spec_.tokens + token) * heads + head) * hd;
    std::vector<double> x(from, from + hd);
    const Rotary& rotary = spec_.rotary;
    if (rotary.style == RotaryStyle::None || head >= shape_.heads + shape_.kv_heads) return x;
    const int32_t half = rotary.dims / 2;
    for (int32_t i = 0; i < half; ++i) {
      const bool split = rotary.style == RotaryStyle::HalfSplit;
      double &a = x[split ? i : 2 * i], &b = x[split ? i + half : 2 * i + 1];
      const double angle = 2 * std::numbers::pi * spec_.positions[token] * rotary.turns[i];
      const double turned = a * std::cos(angle) - b * std::sin(angle);
      b = b * std::cos(angle) + a * std::sin(angle);
      a = turned;
    }
    return x;
  }

  // Of the sequence's `at`-th token; which: 0 its key, 1 its value.
  float* cached(int64_t s, int64_t at, int32_t pair, int32_t which) const {
    const int64_t block = spec_.cache ? spec_.block_tables[s * spec_.table_width + at / block_tokens_] : 0;
    const int64_t slot = spec_.cache ? at % block_tokens_ : begin(s) + at;
    const int64_t pairs = shape_.ways * shape_.kv_heads;
    auto* base = static_cast<float*>(spec_.cache ? spec_.cache : spec_.workspace);
    return base + (((block * 2 + which) * pairs + pair) * block_tokens_ + slot) * kv_row(shape_);
  }

  void append(int64_t s, int32_t token) const {
    for (int32_t pair = 0; pair < shape_.ways * shape_.kv_heads; ++pair) {
      for (const int32_t which : {0, 1}) {
        const int32_t head = shape_.heads + which * shape_.kv_heads + pair % shape_.kv_heads;
        const std::vector<double> x = vector_of(pair / shape_.kv_heads, token, head);
        float* to = cached(s, past(s) + token - begin(s), pair, which);
        std::transform(x.begin(), x.end(), to, [](double value) { return static_cast<float>(value); });
      }
    }
  }

  void attend(int64_t s, int32_t token, int64_t row, int32_t head) const {
    const int32_t way = head / shape_.heads, of_way = head % shape_.heads;
    const int32_t pair = way * shape_.kv_heads + of_way / (shape_.heads / shape_.kv_heads);
    const std::vector<double> query = vector_of(way, token, of_way);
    const int64_t keys = past(s) + token - begin(s) + 1;
    std::vector<double> sum(query.size());
    double total = 0, largest = -INFINITY;
    for (int64_t at = 0; at < keys; ++at) {
      const float *key = cached(s, at, pair, 0), *value = cached(s, at, pair, 1);
      double score = 0;
      for (size_t i = 0; i < query.size(); ++i) score += query[i] * key[i] * spec_.scale;
      const double before = std::exp(largest - std::max(largest, score));
      largest = std::max(largest, score);
      const double weight = std::exp(score - largest);
      total = total * before + weight;
      for (size_t i = 0; i < sum.size(); ++i) sum[i] = sum[i] * before + weight * value[i];
    }
    float* out =
        static_cast<float*>(spec_.out) + ((way * spec_.rows + row) * shape_.heads + of_way) * shape_.head_dim;
    for (size_t i = 0; i < sum.size(); ++i) out[i] = static_cast<float>(sum[i] / total);
  }

  AttentionSpec spec_;
  AttentionShape shape_;
  int64_t block_tokens_;
};

}  // namespace

cudaError_t attention(const AttentionSpec& spec, cudaStream_t stream) {
  if (spec.shape.dtype != DType::Float32 || spec.workspace == nullptr) return cudaErrorInvalidValue;
  fake_cuda::enqueue(stream, [step = Step(spec)] {
    return [step] {
      step.run();
      return true;
    };
  });
  return cudaSuccess;
}

}  // namespace kraken::kernels
