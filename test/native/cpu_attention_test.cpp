#include <omp.h>

#include <cstring>
#include <limits>
#include <numeric>

#include "backend/cpu/attention.h"
#include "backend/cpu/gemm.h"
#include "cpu_numerics.h"

namespace kraken::cpu {
namespace {

using test::expect_close;
using test::random_values;
using test::short_name;
using test::Values;

// The tokens of one conversation: qkv of every position, in [W][tokens][row].
struct Story {
  Values qkv;
  int32_t tokens = 0;
};

// A cache whose blocks were used before: NaN wherever nothing of ours was written yet.
class Machine {
 public:
  Machine(const AttentionShape& shape, int blocks, int threads)
      : shape_(shape), attention_(shape, 2048, 4096, threads), stride_(shape.block_bytes() + 64) {
    storage_.resize(stride_ * static_cast<size_t>(blocks) + 64);
    std::memset(storage_.data(), 0xff, storage_.size());
    void* aligned = storage_.data();
    size_t room = storage_.size();
    cache_ = static_cast<std::byte*>(std::align(64, stride_ * static_cast<size_t>(blocks), aligned, room));
    // Handed out from the end and interleaved, so that no sequence's blocks follow one another.
    free_.resize(static_cast<size_t>(blocks));
    std::iota(free_.begin(), free_.end(), 0);
    std::shuffle(free_.begin(), free_.end(), std::mt19937(7));
  }

  struct Part {
    const Story* story;
    std::vector<int32_t>* blocks;
    int32_t past, length;
  };

  // One step; returns [W, rows, h·hd] of the wanted rows (all when `wanted` is null).
  Values step(const std::vector<Part>& parts, const std::vector<int32_t>* wanted = nullptr) {
    std::vector<StepBatch::Sequence> sequences;
    int32_t tokens = 0;
    for (const Part& part : parts) {
      while (part.blocks->size() * kBlockTokens < static_cast<size_t>(part.past + part.length)) {
        part.blocks->push_back(free_.back());
        free_.pop_back();
      }
      sequences.push_back({tokens, part.length, part.past, *part.blocks});
      tokens += part.length;
    }
    const auto row = static_cast<size_t>(shape_.qkv_width()) * size_of(shape_.dtype);
    Values qkv(shape_.dtype, static_cast<size_t>(shape_.ways) * static_cast<size_t>(tokens) *
                                 static_cast<size_t>(shape_.qkv_width()));
    auto* to = static_cast<unsigned char*>(qkv.data());
    for (int way = 0; way < shape_.ways; ++way) {
      for (const Part& part : parts) {
        const auto from = static_cast<size_t>(way * part.story->tokens + part.past) * row;
        std::memcpy(to, part.story->qkv.bytes().data() + from, static_cast<size_t>(part.length) * row);
        to += static_cast<size_t>(part.length) * row;
      }
    }
    const size_t rows = wanted != nullptr ? wanted->size() : static_cast<size_t>(tokens);
    Values out(shape_.dtype, static_cast<size_t>(shape_.ways * shape_.heads * shape_.head_dim) * rows);
    AttentionCall call;
    call.qkv = qkv.data();
    call.tokens = tokens;
    call.sequences = sequences;
    call.cache = cache_;
    call.block_stride = stride_;
    call.all_rows = wanted == nullptr;
    if (wanted != nullptr) call.wanted = *wanted;
    call.out = out.data();
    attention_.run(call);
    return out;
  }

 private:
  AttentionShape shape_;
  Attention attention_;
  size_t stride_;
  std::vector<std::byte> storage_;
  std::byte* cache_ = nullptr;
  std::vector<int32_t> free_;
};

Story make_story(const AttentionShape& shape, int32_t tokens, uint32_t seed) {
  const auto count =
      static_cast<size_t>(shape.ways) * static_cast<size_t>(tokens) * static_cast<size_t>(shape.qkv_width());
  return {random_values(shape.dtype, count, seed, 1.5f), tokens};
}

// [W, tokens, h·hd] in float64.
std::vector<double> reference(const AttentionShape& shape, const Story& story) {
  const int hd = shape.head_dim, group = shape.heads / shape.kv_heads, tokens = story.tokens;
  const auto at = [&](int way, int token, int head, int i) {
    return story.qkv[static_cast<size_t>((way * tokens + token) * shape.qkv_width() + head * hd + i)];
  };
  std::vector<double> out(static_cast<size_t>(shape.ways * tokens * shape.heads * hd));
  std::vector<double> p(static_cast<size_t>(tokens));
  for (int way = 0; way < shape.ways; ++way) {
    for (int head = 0; head < shape.heads; ++head) {
      const int key_head = shape.heads + head / group, value_head = key_head + shape.kv_heads;
      for (int t = 0; t < tokens; ++t) {
        double most = -std::numeric_limits<double>::infinity(), total = 0;
        for (int s = 0; s <= t; ++s) {
          double score = 0;
          for (int i = 0; i < hd; ++i) score += at(way, t, head, i) * at(way, s, key_head, i);
          p[static_cast<size_t>(s)] = score / std::sqrt(static_cast<double>(hd));
          most = std::max(most, p[static_cast<size_t>(s)]);
        }
        for (int s = 0; s <= t; ++s)
          total += p[static_cast<size_t>(s)] = std::exp(p[static_cast<size_t>(s)] - most);
        for (int i = 0; i < hd; ++i) {
          double sum = 0;
          for (int s = 0; s <= t; ++s) sum += p[static_cast<size_t>(s)] * at(way, s, value_head, i);
          out[static_cast<size_t>(((way * tokens + t) * shape.heads + head) * hd + i)] = sum / total;
        }
      }
    }
  }
  return out;
}

std::vector<DType> compute_dtypes() {
  std::vector<DType> dtypes = {DType::Float32};
  if (compute_dtype(DType::BFloat16) == DType::BFloat16) dtypes.push_back(DType::BFloat16);
  return dtypes;
}

std::string name(const AttentionShape& shape, int tokens) {
  return std::string(short_name(shape.dtype)) + " ways=" + std::to_string(shape.ways) +
         " heads=" + std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) +
         " hd=" + std::to_string(shape.head_dim) + " T=" + std::to_string(tokens);
}

// One token's output, all ways.
std::vector<unsigned char> token_bytes(const AttentionShape& shape, const Values& out, int rows, int row) {
  const auto bytes = static_cast<size_t>(shape.heads * shape.head_dim) * size_of(shape.dtype);
  std::vector<unsigned char> result;
  for (int way = 0; way < shape.ways; ++way) {
    const unsigned char* from = out.bytes().data() + static_cast<size_t>(way * rows + row) * bytes;
    result.insert(result.end(), from, from + bytes);
  }
  return result;
}

std::vector<AttentionShape> shapes() {
  std::vector<AttentionShape> all;
  for (const DType dtype : compute_dtypes()) {
    all.push_back({1, 2, 2, 113, dtype});
    all.push_back({2, 1, 1, 19, dtype});
    all.push_back({1, 1, 1, 1, dtype});
    all.push_back({1, 4, 2, 128, dtype});
    all.push_back({2, 6, 1, 38, dtype});
    all.push_back({1, 1, 1, 209, dtype});
    all.push_back({1, 2, 1, 25, dtype});
    all.push_back({1, 7, 1, 16, dtype});
  }
  return all;
}

TEST(CpuAttention, MatchesFloat64) {
  for (const AttentionShape& shape : shapes()) {
    for (const int tokens : {1, 2, 17, 63, 64, 65, 129, 700}) {
      if (tokens == 700 && shape.head_dim != 113 && shape.head_dim != 1) continue;  // two key blocks
      const Story story = make_story(shape, tokens, 11);
      Machine machine(shape, 16, 1);
      std::vector<int32_t> blocks;
      const Values out = machine.step({{&story, &blocks, 0, tokens}});
      const bool rounded = shape.dtype == DType::BFloat16;
      expect_close(name(shape, tokens), out, reference(shape, story), rounded ? 6e-3 : 1e-6,
                   rounded ? 0.06 : 1e-5);
    }
  }
}

// Token by token, in chunks of several sizes, or at once: the same bits.
TEST(CpuAttention, ChunksDoNotChangeARow) {
  for (const AttentionShape& shape : shapes()) {
    const int tokens = shape.head_dim == 113 ? 700 : 150;
    const Story story = make_story(shape, tokens, 12);
    Machine machine(shape, 64, 1);
    std::vector<int32_t> whole_blocks;
    const Values whole = machine.step({{&story, &whole_blocks, 0, tokens}});
    for (const int chunk : {1, 2, 5, 7, 48, 63, 64, 100}) {
      if (chunk == 1 && tokens > 600) continue;
      std::vector<int32_t> blocks;
      Machine fresh(shape, 16, 1);
      for (int past = 0; past < tokens; past += chunk) {
        const int length = std::min(chunk, tokens - past);
        const Values part = fresh.step({{&story, &blocks, past, length}});
        for (int t = 0; t < length; ++t) {
          ASSERT_EQ(token_bytes(shape, part, length, t), token_bytes(shape, whole, tokens, past + t))
              << name(shape, tokens) << " chunk " << chunk << " token " << past + t;
        }
      }
    }
    // Prefill, then token by token across a key block's end.
    if (tokens > 600) {
      std::vector<int32_t> blocks;
      Machine fresh(shape, 16, 1);
      fresh.step({{&story, &blocks, 0, 505}});
      for (int past = 505; past < 530; ++past) {
        const Values part = fresh.step({{&story, &blocks, past, 1}});
        ASSERT_EQ(token_bytes(shape, part, 1, 0), token_bytes(shape, whole, tokens, past)) << past;
      }
    }
  }
}

// Prefill, decode and a chunk's continuation in one step, rows wanted or not, one thread or two: the same
// bits as alone.
TEST(CpuAttention, NeighboursThreadsAndWantedRowsDoNotChangeARow) {
  const int threads_before = omp_get_max_threads();
  for (const AttentionShape& shape : shapes()) {
    const Story first = make_story(shape, 130, 21), second = make_story(shape, 66, 22),
                third = make_story(shape, 90, 23), fourth = make_story(shape, 1, 24);
    omp_set_num_threads(1);
    Machine alone(shape, 64, 1);
    std::vector<int32_t> a, b, c, d;
    const Values first_alone = alone.step({{&first, &a, 0, 130}}),
                 second_alone = alone.step({{&second, &b, 0, 66}}),
                 third_alone = alone.step({{&third, &c, 0, 90}}),
                 fourth_alone = alone.step({{&fourth, &d, 0, 1}});
    for (const int threads : {1, 2}) {
      omp_set_num_threads(threads);
      Machine mixed(shape, 64, threads);
      std::vector<int32_t> e, f, g, h;
      mixed.step({{&second, &f, 0, 65}, {&third, &g, 0, 40}});
      const std::vector<Machine::Part> parts = {
          {&first, &e, 0, 130}, {&second, &f, 65, 1}, {&third, &g, 40, 50}, {&fourth, &h, 0, 1}};
      const int rows = 130 + 1 + 50 + 1;
      const Values together = mixed.step(parts);
      for (int t = 0; t < 130; ++t) {
        ASSERT_EQ(token_bytes(shape, together, rows, t), token_bytes(shape, first_alone, 130, t))
            << name(shape, t);
      }
      ASSERT_EQ(token_bytes(shape, together, rows, 130), token_bytes(shape, second_alone, 66, 65))
          << name(shape, 66);
      for (int t = 0; t < 50; ++t) {
        ASSERT_EQ(token_bytes(shape, together, rows, 131 + t), token_bytes(shape, third_alone, 90, 40 + t));
      }
      ASSERT_EQ(token_bytes(shape, together, rows, 181), token_bytes(shape, fourth_alone, 1, 0));

      const std::vector<int32_t> wanted = {3, 4, 129, 130, 150, 180, 181};
      const Values some = mixed.step(parts, &wanted);  // appends the same tokens again
      for (size_t i = 0; i < wanted.size(); ++i) {
        ASSERT_EQ(token_bytes(shape, some, static_cast<int>(wanted.size()), static_cast<int>(i)),
                  token_bytes(shape, together, rows, wanted[i]))
            << name(shape, wanted[i]);
      }
      const std::vector<int32_t> last = {181};
      ASSERT_EQ(token_bytes(shape, mixed.step(parts, &last), 1, 0), token_bytes(shape, fourth_alone, 1, 0));
    }
  }
  omp_set_num_threads(threads_before);
}

// Scores far apart and equal: no overflow, no NaN, exact weights.
TEST(CpuAttention, ExtremeScores) {
  for (const DType dtype : compute_dtypes()) {
    const AttentionShape shape{1, 1, 1, 4, dtype};
    Story story{Values(dtype, 600 * 12), 600};
    for (size_t t = 0; t < 600; ++t) {
      for (size_t i = 0; i < 12; ++i) {
        const float sign = t % 2 == 0 ? 1.0f : -1.0f;
        story.qkv.set(t * 12 + i, i < 4 ? 3000.0f : i < 8 ? sign * 2000.0f : static_cast<float>(t % 3));
      }
    }
    Machine machine(shape, 16, 1);
    std::vector<int32_t> blocks;
    const Values out = machine.step({{&story, &blocks, 0, 600}});
    expect_close(std::string(short_name(dtype)) + " extreme scores", out, reference(shape, story), 4e-3,
                 1e-2);
  }
}

// Later keys score higher, so that what earlier blocks were relative to moves in the middle of a prompt: the
// same bits in chunks of any size, and as close to float64.
TEST(CpuAttention, RisingScores) {
  for (const DType dtype : compute_dtypes()) {
    const AttentionShape shape{1, 1, 1, 20, dtype};
    const int tokens = 700;
    Story story = make_story(shape, tokens, 13);
    for (size_t t = 0; t < 700; ++t) {
      for (size_t i = 0; i < 20; ++i) {
        story.qkv.set(t * 60 + i, 1.0f);
        story.qkv.set(t * 60 + 20 + i, static_cast<float>(t) / 64);
      }
    }
    Machine machine(shape, 16, 1);
    std::vector<int32_t> blocks;
    const Values whole = machine.step({{&story, &blocks, 0, tokens}});
    expect_close(std::string(short_name(dtype)) + " rising scores", whole, reference(shape, story),
                 dtype == DType::BFloat16 ? 6e-3 : 2e-6, dtype == DType::BFloat16 ? 0.06 : 1e-5);
    for (const int chunk : {1, 7, 100}) {
      Machine fresh(shape, 16, 1);
      std::vector<int32_t> own;
      for (int past = 0; past < tokens; past += chunk) {
        const int length = std::min(chunk, tokens - past);
        const Values part = fresh.step({{&story, &own, past, length}});
        for (int t = 0; t < length; ++t) {
          ASSERT_EQ(token_bytes(shape, part, length, t), token_bytes(shape, whole, tokens, past + t))
              << short_name(dtype) << " chunk " << chunk << " token " << past + t;
        }
      }
    }
  }
}

}  // namespace
}  // namespace kraken::cpu
