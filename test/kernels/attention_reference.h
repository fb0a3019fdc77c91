// Sequences that grow step by step: what a step gives the kernel, and what float64 says should come out.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>

#include "attention.h"
#include "values.h"

namespace kraken::test {

using kernels::AttentionShape;
using kernels::AttentionSpec;
using kernels::Rotary;
using kernels::RotaryStyle;

inline Rotary rotary_of(RotaryStyle style, int32_t dims, double base = 10000) {
  Rotary rotary;
  rotary.style = style;
  rotary.dims = dims;
  for (int32_t i = 0; i < dims / 2; ++i) {
    rotary.turns[i] = std::pow(base, -2.0 * i / dims) / (2 * std::numbers::pi);
  }
  return rotary;
}

class IntArray {
 public:
  explicit IntArray(const std::vector<int32_t>& values)
      : memory_(device_memory(std::max<size_t>(values.size(), 1) * sizeof(int32_t))) {
    if (values.empty()) return;
    KRAKEN_CUDA(cudaMemcpy(memory_.get(), values.data(), values.size() * sizeof(int32_t), cudaMemcpyDefault));
    KRAKEN_CUDA(cudaStreamSynchronize(nullptr));
  }
  const int32_t* data() const { return reinterpret_cast<const int32_t*>(memory_.get()); }

 private:
  DeviceMemory memory_;
};

// A sequence's queries, keys and values of all its tokens so far.
struct History {
  std::vector<std::vector<double>> tokens;  // [W][(h + 2·kv)·hd] each, as given, before rotation
};

class AttentionCase {
 public:
  AttentionShape shape;
  Rotary rotary;
  float scale = 0.25f;
  int32_t block_tokens = 16;
  int32_t table_width = 4;
  bool paged = true;

  int32_t width() const { return (shape.heads + 2 * shape.kv_heads) * shape.head_dim; }
  std::string name() const {
    return std::string(short_name(shape.dtype)) + " W" + std::to_string(shape.ways) + " h" +
           std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) + " hd" +
           std::to_string(shape.head_dim);
  }

  // [hd] of one head of a token, rotated and rounded as the cache holds it.
  std::vector<double> head(const std::vector<double>& token, int32_t way, int32_t index,
                           int64_t position) const {
    const auto hd = static_cast<size_t>(shape.head_dim);
    const auto from = token.begin() + way * width() + index * shape.head_dim;
    std::vector<double> x(from, from + shape.head_dim);
    if (rotary.style == RotaryStyle::None || index >= shape.heads + shape.kv_heads) return x;
    for (int32_t i = 0; i < rotary.dims / 2; ++i) {
      const bool interleaved = rotary.style == RotaryStyle::Interleaved;
      const auto first = static_cast<size_t>(interleaved ? 2 * i : i);
      const size_t second = interleaved ? first + 1 : first + static_cast<size_t>(rotary.dims / 2);
      const double angle = 2 * std::numbers::pi * static_cast<double>(position) * rotary.turns[i];
      const double a = x[first], b = x[second];
      x[first] = a * std::cos(angle) - b * std::sin(angle);
      x[second] = b * std::cos(angle) + a * std::sin(angle);
    }
    for (size_t i = 0; i < hd; ++i) x[i] = rounded(shape.dtype, x[i]);
    return x;
  }

  // [h·hd] of the sequence's token `at`, in one way.
  std::vector<double> attended(const History& history, int32_t way, int64_t at,
                               int64_t first_position) const {
    std::vector<double> out;
    const auto& tokens = history.tokens;
    const int32_t group = shape.heads / shape.kv_heads;
    std::vector<std::vector<double>> keys, values;
    for (int32_t index = 0; index < shape.heads; ++index) {
      if (index % group == 0) {
        keys.clear();
        values.clear();
        for (int64_t key = 0; key <= at; ++key) {
          const std::vector<double>& token = tokens[static_cast<size_t>(key)];
          keys.push_back(head(token, way, shape.heads + index / group, first_position + key));
          values.push_back(head(token, way, shape.heads + shape.kv_heads + index / group, 0));
        }
      }
      const std::vector<double> query =
          head(tokens[static_cast<size_t>(at)], way, index, first_position + at);
      std::vector<double> scores;
      for (const auto& key : keys) {
        scores.push_back(static_cast<double>(scale) *
                         std::inner_product(query.begin(), query.end(), key.begin(), 0.0));
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      std::vector<double> sum(query.size());
      for (size_t key = 0; key < keys.size(); ++key) {
        const double weight = std::exp(scores[key] - largest);
        total += weight;
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += weight * values[key][i];
      }
      for (const double value : sum) out.push_back(value / total);
    }
    return out;
  }
};

// Runs steps of sequences over one cache (or none), whose blocks are dealt out of order.
class AttentionRun {
 public:
  AttentionRun(const AttentionCase& one, int32_t sequences, uint32_t seed, int64_t first_position = 0,
               int64_t offset = 0)
      : one_(one),
        histories_(static_cast<size_t>(sequences)),
        blocks_(sequences * one.table_width + 3),
        cache_(device_memory(cache_bytes())),
        seed_(seed),
        first_position_(first_position),
        offset_(offset) {
    KRAKEN_CUDA(cudaMemset(cache_.get(), 0xff, cache_bytes()));  // NaNs
    std::vector<int32_t> order(static_cast<size_t>(blocks_));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    tables_.assign(order.begin(), order.begin() + sequences * one.table_width);
  }

  // lengths: new tokens of each sequence, which may be none. wanted: rows of the step; empty: all.
  void step(Checks& checks, const std::string& what, const std::vector<int32_t>& lengths,
            const std::vector<int32_t>& wanted = {}) {
    const AttentionShape& shape = one_.shape;
    std::vector<int32_t> begins = {0}, past, positions, tables;
    std::vector<std::pair<size_t, int64_t>> at;  // of each token of the step
    for (size_t s = 0; s < lengths.size(); ++s) {
      if (!one_.paged) histories_[s].tokens.clear();
      past.push_back(static_cast<int32_t>(histories_[s].tokens.size()));
      for (int32_t i = 0; i < lengths[s]; ++i) {
        at.emplace_back(s, past[s] + i);
        positions.push_back(static_cast<int32_t>(first_position_) + past[s] + i);
        histories_[s].tokens.push_back(random_values(shape.dtype, shape.ways * one_.width(), ++seed_));
      }
      begins.push_back(begins.back() + lengths[s]);
    }
    const int64_t tokens = begins.back();
    std::vector<double> qkv;
    for (int32_t way = 0; way < shape.ways; ++way) {
      for (const auto& [s, index] : at) {
        const auto from = histories_[s].tokens[static_cast<size_t>(index)].begin() + way * one_.width();
        qkv.insert(qkv.end(), from, from + one_.width());
      }
    }
    Array input(shape.dtype, static_cast<int64_t>(qkv.size()), offset_);
    input.upload(qkv);
    const IntArray position_array(positions), begin_array(begins), past_array(past), table_array(tables_),
        wanted_array(wanted);
    const int64_t rows = wanted.empty() ? tokens : static_cast<int64_t>(wanted.size());
    Array out(shape.dtype, shape.ways * rows * shape.heads * shape.head_dim, offset_);
    const DeviceMemory workspace =
        device_memory(static_cast<size_t>(kernels::attention_workspace(shape, tokens)));

    AttentionSpec spec;
    spec.shape = shape;
    spec.scale = one_.scale;
    spec.rotary = one_.rotary;
    spec.tokens = tokens;
    spec.sequences = static_cast<int64_t>(lengths.size());
    spec.rows = rows;
    spec.qkv = input.data();
    spec.positions = position_array.data();
    spec.sequence_begins = begin_array.data();
    if (!wanted.empty()) spec.wanted_rows = wanted_array.data();
    if (one_.paged) {
      spec.past_lengths = past_array.data();
      spec.block_tables = table_array.data();
      spec.table_width = one_.table_width;
      spec.block_tokens = one_.block_tokens;
      spec.cache_blocks = blocks_;
      spec.cache = cache_.get();
    }
    spec.workspace = workspace.get();
    spec.out = out.data();
    KRAKEN_CUDA(kernels::attention(spec, nullptr));

    std::vector<double> want;
    for (int32_t way = 0; way < shape.ways; ++way) {
      for (int64_t row = 0; row < rows; ++row) {
        const auto& [s, index] =
            at[static_cast<size_t>(wanted.empty() ? row : wanted[static_cast<size_t>(row)])];
        const std::vector<double> values = one_.attended(histories_[s], way, index, first_position_);
        want.insert(want.end(), values.begin(), values.end());
      }
    }
    const std::vector<double> got = out.download();
    checks.push_back(expect_close("attention " + one_.name() + ": " + what, got, want, tolerance()));
    // Appending the same again changes nothing, and every run adds in the same order.
    KRAKEN_CUDA(kernels::attention(spec, nullptr));
    checks.push_back(expect_same("attention again " + one_.name() + ": " + what, out.download(), got));
  }

 private:
  // Weights are rounded to the type before they are multiplied, sums once more.
  double tolerance() const { return 2 * rounding(one_.shape.dtype); }
  size_t cache_bytes() const {
    return static_cast<size_t>(blocks_ * kernels::kv_block_bytes(one_.shape, one_.block_tokens));
  }

  AttentionCase one_;
  std::vector<History> histories_;
  int32_t blocks_;
  std::vector<int32_t> tables_;
  DeviceMemory cache_;
  uint32_t seed_;
  int64_t first_position_, offset_;
};

}  // namespace kraken::test
