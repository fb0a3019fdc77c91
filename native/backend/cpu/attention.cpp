// Splits a step's attention into tasks and runs them over the OpenMP team.
#include "backend/cpu/attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/cpu/aligned_buffer.h"
#include "backend/cpu/attention_kernels.h"
#include "base/error.h"

namespace kraken::cpu {
namespace {

static_assert(kBlockTokens == kCacheBlock);

// Query rows of one sequence; a task is one of these times a (way, key/value head).
struct RowRange {
  int32_t sequence;
  int32_t begin, count;  // in the sequence's wanted tokens × query heads of a group, token by token
  int32_t first_output;  // output row of the sequence's first wanted token
};

// New tokens of one sequence that fall into one KV block.
struct AppendRange {
  int32_t sequence;
  int32_t begin, count;  // in the sequence's tokens of this step
};

}  // namespace

size_t AttentionShape::block_bytes() const {
  const size_t unit = 4;  // a pair of bfloat16 or one float32
  const auto dim = static_cast<size_t>(head_dim);
  const size_t k = (dtype == DType::Float32 ? dim : (dim + 1) / 2) * kBlockTokens * unit;
  const size_t value_rows = dtype == DType::Float32 ? kBlockTokens : kBlockTokens / 2;
  const size_t v = value_rows * static_cast<size_t>(padded_dim(head_dim)) * unit;
  return static_cast<size_t>(ways * kv_heads) * (k + v);
}

struct Attention::Impl {
  AttentionShape shape;
  AttentionKernels kernels;
  int threads;
  size_t scratch_bytes;
  AlignedBuffer scratch;  // [threads][scratch_bytes]
  std::vector<RowRange> rows;
  std::vector<AppendRange> appends;

  void plan(const AttentionCall& call);
  void append(const AttentionCall& call, int64_t task) const;
  void attend(const AttentionCall& call, int64_t task, std::byte* thread_scratch) const;

  size_t element() const { return size_of(shape.dtype); }
  size_t k_bytes() const {
    return static_cast<size_t>(shape.dtype == DType::Float32 ? shape.head_dim : (shape.head_dim + 1) / 2) *
           kBlockTokens * 4;
  }
  size_t head_bytes() const { return shape.block_bytes() / static_cast<size_t>(shape.ways * shape.kv_heads); }
  int64_t pairs() const { return int64_t{shape.ways} * shape.kv_heads; }
};

Attention::Attention(const AttentionShape& shape, int64_t max_tokens, int64_t, int threads)
    : impl_(std::make_unique<Impl>()) {
  KRAKEN_CHECK(shape.ways > 0 && shape.heads > 0 && shape.kv_heads > 0 && shape.head_dim > 0);
  KRAKEN_CHECK(shape.heads % shape.kv_heads == 0 && shape.dtype != DType::Float16);
  impl_->shape = shape;
  impl_->kernels =
      shape.dtype == DType::Float32 ? highway_attention_kernels() : avx512_bf16_attention_kernels();
  KRAKEN_CHECK(impl_->kernels.attend != nullptr);
  impl_->threads = std::max(1, threads);
  impl_->scratch_bytes = (AttentionScratch::bytes(shape.head_dim) + 63) / 64 * 64;
  impl_->scratch = AlignedBuffer(impl_->scratch_bytes * static_cast<size_t>(impl_->threads));
  // At worst every token is a sequence of its own.
  const int64_t group = shape.heads / shape.kv_heads;
  impl_->rows.reserve(static_cast<size_t>(max_tokens + max_tokens * group / kTaskRows + 1));
  impl_->appends.reserve(static_cast<size_t>(2 * max_tokens + 1));
}

Attention::~Attention() = default;

void Attention::Impl::plan(const AttentionCall& call) {
  const int32_t group = shape.heads / shape.kv_heads;
  rows.clear();
  appends.clear();
  size_t wanted = 0;  // position in call.wanted
  for (size_t s = 0; s < call.sequences.size(); ++s) {
    const StepBatch::Sequence& sequence = call.sequences[s];
    const auto id = static_cast<int32_t>(s);
    KRAKEN_CHECK(sequence.begin >= 0 && sequence.begin + sequence.length <= call.tokens);
    KRAKEN_CHECK(static_cast<int64_t>(sequence.blocks.size()) * kBlockTokens >=
                 sequence.past + sequence.length);
    for (int32_t at = 0; at < sequence.length;) {
      const int32_t room = kBlockTokens - (sequence.past + at) % kBlockTokens;
      const int32_t count = std::min(room, sequence.length - at);
      appends.push_back({id, at, count});
      at += count;
    }
    int32_t queries = sequence.length, first_output = sequence.begin;
    if (!call.all_rows) {
      while (wanted < call.wanted.size() && call.wanted[wanted] < sequence.begin) ++wanted;
      first_output = static_cast<int32_t>(wanted);
      while (wanted < call.wanted.size() && call.wanted[wanted] < sequence.begin + sequence.length) ++wanted;
      queries = static_cast<int32_t>(wanted) - first_output;
    }
    // The longest rows first, so that threads end together.
    const int32_t total = queries * group;
    for (int32_t end = total; end > 0;) {
      const int32_t begin = (end - 1) / kTaskRows * kTaskRows;
      rows.push_back({id, begin, end - begin, first_output});
      end = begin;
    }
  }
}

void Attention::Impl::append(const AttentionCall& call, int64_t task) const {
  const AppendRange& range = appends[static_cast<size_t>(task / pairs())];
  const int64_t pair = task % pairs(), way = pair / shape.kv_heads, head = pair % shape.kv_heads;
  const StepBatch::Sequence& sequence = call.sequences[static_cast<size_t>(range.sequence)];
  const int32_t position = sequence.past + range.begin;
  AppendJob job;
  job.row_bytes = static_cast<size_t>(shape.qkv_width()) * element();
  const int64_t row = way * call.tokens + sequence.begin + range.begin;
  const std::byte* keys = static_cast<const std::byte*>(call.qkv) + static_cast<size_t>(row) * job.row_bytes +
                          static_cast<size_t>((shape.heads + head) * shape.head_dim) * element();
  job.key = keys;
  job.value = keys + static_cast<size_t>(shape.kv_heads * shape.head_dim) * element();
  const auto block = static_cast<size_t>(sequence.blocks[static_cast<size_t>(position / kBlockTokens)]);
  job.k = call.cache + block * call.block_stride + static_cast<size_t>(pair) * head_bytes();
  job.v = job.k + k_bytes();
  job.first_slot = position % kBlockTokens;
  job.count = range.count;
  job.head_dim = shape.head_dim;
  kernels.append(job);
}

void Attention::Impl::attend(const AttentionCall& call, int64_t task, std::byte* thread_scratch) const {
  const auto ranges = static_cast<int64_t>(rows.size());
  const RowRange& range = rows[static_cast<size_t>(task % ranges)];
  const int64_t pair = task / ranges, way = pair / shape.kv_heads, kv_head = pair % shape.kv_heads;
  const StepBatch::Sequence& sequence = call.sequences[static_cast<size_t>(range.sequence)];
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t out_rows = call.all_rows ? call.tokens : static_cast<int64_t>(call.wanted.size());
  AttendJob job;
  job.cache = call.cache;
  job.block_stride = call.block_stride;
  job.k_offset = static_cast<size_t>(pair) * head_bytes();
  job.v_offset = job.k_offset + k_bytes();
  job.blocks = sequence.blocks.data();
  job.head_dim = shape.head_dim;
  job.scale = static_cast<float>(1.44269504088896340736 / std::sqrt(static_cast<double>(shape.head_dim)));
  job.rows = range.count;
  job.scratch = thread_scratch;
  for (int r = 0; r < range.count; ++r) {
    const int64_t query = (range.begin + r) / group, head = kv_head * group + (range.begin + r) % group;
    const int64_t out_row = range.first_output + query;
    const int64_t token = call.all_rows ? sequence.begin + query : call.wanted[static_cast<size_t>(out_row)];
    job.query[r] =
        static_cast<const std::byte*>(call.qkv) +
        static_cast<size_t>((way * call.tokens + token) * shape.qkv_width() + head * shape.head_dim) *
            element();
    job.out[r] =
        static_cast<std::byte*>(call.out) +
        static_cast<size_t>(((way * out_rows + out_row) * shape.heads + head) * shape.head_dim) * element();
    job.keys[r] = static_cast<int32_t>(sequence.past + token - sequence.begin + 1);
  }
  kernels.attend(job);
}

void Attention::run(const AttentionCall& call) {
  impl_->plan(call);
  const int64_t append_tasks = static_cast<int64_t>(impl_->appends.size()) * impl_->pairs();
  const int64_t attend_tasks = static_cast<int64_t>(impl_->rows.size()) * impl_->pairs();
  if (std::min(omp_get_max_threads(), impl_->threads) <= 1) {
    for (int64_t task = 0; task < append_tasks; ++task) impl_->append(call, task);
    for (int64_t task = 0; task < attend_tasks; ++task)
      impl_->attend(call, task, impl_->scratch.as<std::byte>());
    return;
  }
  const Impl& impl = *impl_;
  const int threads = std::min(omp_get_max_threads(), impl.threads);
#pragma omp parallel num_threads(threads)
  {
    std::byte* scratch =
        impl.scratch.as<std::byte>() + impl.scratch_bytes * static_cast<size_t>(omp_get_thread_num());
#pragma omp for schedule(static)
    for (int64_t task = 0; task < append_tasks; ++task) impl.append(call, task);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < attend_tasks; ++task) impl.attend(call, task, scratch);
  }
}

}  // namespace kraken::cpu
