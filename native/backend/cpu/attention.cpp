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
  bool appends;          // the sequence's only range: its task also appends, while that is warm in cache
};

// New tokens of one sequence, of which another range may follow in another thread: no key vector has tokens
// of both.
struct AppendRange {
  int32_t sequence;
  int32_t begin, count;  // in the sequence's tokens of this step
};

constexpr int32_t kAppendTokens = 128;  // of a range
static_assert(kAppendTokens % kKeyVector == 0);

constexpr int kRead = 0, kWrite = 1;

// Into the second-level cache.
template <int kFor>
void prefetch(const std::byte* from, size_t bytes) {
  for (size_t i = 0; i < bytes + 63; i += 64) __builtin_prefetch(from + i, kFor, 2);
}

constexpr int kMostTailDims = 8;

KvLayout layout_of(const AttentionShape& shape) {
  const bool pairs = shape.dtype != DType::Float32;
  const size_t unit = sizeof(float);
  KvLayout layout;
  layout.head_dim = shape.head_dim;
  layout.units = pairs ? (shape.head_dim + 1) / 2 : shape.head_dim;
  layout.value_rows = pairs ? kCacheBlock / 2 : kCacheBlock;
  layout.tail = shape.head_dim % kKeyVector <= kMostTailDims ? shape.head_dim % kKeyVector : 0;
  layout.body = (shape.head_dim - layout.tail + kKeyVector - 1) / kKeyVector * kKeyVector;
  layout.tail_offset = static_cast<size_t>(layout.units) * kCacheBlock * unit;
  layout.v_offset = layout.tail_offset + static_cast<size_t>(layout.tail * layout.value_rows) * unit;
  layout.bytes = layout.v_offset + static_cast<size_t>(layout.body * layout.value_rows) * unit;
  return layout;
}

}  // namespace

size_t AttentionShape::block_bytes() const {
  return static_cast<size_t>(ways * kv_heads) * layout_of(*this).bytes;
}

struct Attention::Impl {
  struct Row {
    const std::byte* query;
    std::byte* out;
    int32_t keys;
  };

  AttentionShape shape;
  KvLayout layout;
  AttentionKernels kernels;
  int threads;
  size_t scratch_bytes;
  AlignedBuffer scratch;  // [threads][scratch_bytes]
  std::vector<RowRange> rows;
  std::vector<AppendRange> appends;  // of sequences with several row ranges

  void plan(const AttentionCall& call);
  void append(const AttentionCall& call, const AppendRange& range, int64_t pair) const;
  // Tasks lie by pair; this thread's next one is `stride` further.
  void attend(const AttentionCall& call, int64_t task, int64_t stride, std::byte* thread_scratch) const;

  Row row_of(const AttentionCall& call, const RowRange& range, int64_t pair, int32_t r) const;

  size_t row_bytes() const { return static_cast<size_t>(shape.head_dim) * element(); }
  size_t element() const { return size_of(shape.dtype); }
  int64_t pairs() const { return int64_t{shape.ways} * shape.kv_heads; }
  int64_t attend_tasks() const { return static_cast<int64_t>(rows.size()) * pairs(); }
  HeadCache head_cache(const AttentionCall& call, const StepBatch::Sequence& sequence, int64_t pair) const {
    return {&layout, call.cache + static_cast<size_t>(pair) * layout.bytes, call.block_stride,
            sequence.blocks.data()};
  }
};

Attention::Attention(const AttentionShape& shape, int64_t max_tokens, int64_t, int threads)
    : impl_(std::make_unique<Impl>()) {
  KRAKEN_CHECK(shape.ways > 0 && shape.heads > 0 && shape.kv_heads > 0 && shape.head_dim > 0);
  KRAKEN_CHECK(shape.heads % shape.kv_heads == 0 && shape.dtype != DType::Float16);
  impl_->shape = shape;
  impl_->layout = layout_of(shape);
  impl_->kernels =
      shape.dtype == DType::Float32 ? highway_attention_kernels() : avx512_bf16_attention_kernels();
  KRAKEN_CHECK(impl_->kernels.attend != nullptr);
  impl_->threads = std::max(1, threads);
  impl_->scratch_bytes = impl_->kernels.scratch_bytes(impl_->layout);
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
    int32_t queries = sequence.length, first_output = sequence.begin;
    if (!call.all_rows) {
      while (wanted < call.wanted.size() && call.wanted[wanted] < sequence.begin) ++wanted;
      first_output = static_cast<int32_t>(wanted);
      while (wanted < call.wanted.size() && call.wanted[wanted] < sequence.begin + sequence.length) ++wanted;
      queries = static_cast<int32_t>(wanted) - first_output;
    }
    // The longest rows first, so that threads end together.
    const int32_t total = queries * group;
    const bool one_range = total > 0 && total <= kTaskRows;
    for (int32_t end = total; end > 0;) {
      const int32_t begin = (end - 1) / kTaskRows * kTaskRows;
      rows.push_back({id, begin, end - begin, first_output, one_range});
      end = begin;
    }
    if (one_range) continue;
    for (int32_t at = 0; at < sequence.length;) {
      const int32_t room = kAppendTokens - (sequence.past + at) % kAppendTokens;
      const int32_t count = std::min(room, sequence.length - at);
      appends.push_back({id, at, count});
      at += count;
    }
  }
}

void Attention::Impl::append(const AttentionCall& call, const AppendRange& range, int64_t pair) const {
  const int64_t way = pair / shape.kv_heads, head = pair % shape.kv_heads;
  const StepBatch::Sequence& sequence = call.sequences[static_cast<size_t>(range.sequence)];
  AppendJob job;
  job.cache = head_cache(call, sequence, pair);
  job.row_bytes = static_cast<size_t>(shape.qkv_width()) * element();
  const int64_t row = way * call.tokens + sequence.begin + range.begin;
  job.key = static_cast<const std::byte*>(call.qkv) + static_cast<size_t>(row) * job.row_bytes +
            static_cast<size_t>((shape.heads + head) * shape.head_dim) * element();
  job.value = job.key + static_cast<size_t>(shape.kv_heads * shape.head_dim) * element();
  job.position = sequence.past + range.begin;
  job.count = range.count;
  kernels.append(job);
}

Attention::Impl::Row Attention::Impl::row_of(const AttentionCall& call, const RowRange& range, int64_t pair,
                                             int32_t r) const {
  const StepBatch::Sequence& sequence = call.sequences[static_cast<size_t>(range.sequence)];
  const int64_t way = pair / shape.kv_heads, kv_head = pair % shape.kv_heads;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t query = (range.begin + r) / group, head = kv_head * group + (range.begin + r) % group;
  const int64_t out_rows = call.all_rows ? call.tokens : static_cast<int64_t>(call.wanted.size());
  const int64_t out_row = range.first_output + query;
  const int64_t token = call.all_rows ? sequence.begin + query : call.wanted[static_cast<size_t>(out_row)];
  const int64_t from = (way * call.tokens + token) * shape.qkv_width() + head * shape.head_dim;
  const int64_t to = ((way * out_rows + out_row) * shape.heads + head) * shape.head_dim;
  return {static_cast<const std::byte*>(call.qkv) + static_cast<size_t>(from) * element(),
          static_cast<std::byte*>(call.out) + static_cast<size_t>(to) * element(),
          static_cast<int32_t>(sequence.past + token - sequence.begin + 1)};
}

void Attention::Impl::attend(const AttentionCall& call, int64_t task, int64_t stride,
                             std::byte* thread_scratch) const {
  const auto ranges = static_cast<int64_t>(rows.size());
  const RowRange& range = rows[static_cast<size_t>(task % ranges)];
  const int64_t pair = task / ranges;
  const StepBatch::Sequence& sequence = call.sequences[static_cast<size_t>(range.sequence)];
  if (range.appends) append(call, {range.sequence, 0, sequence.length}, pair);
  AttendJob job;
  job.cache = head_cache(call, sequence, pair);
  job.scale = static_cast<float>(1.44269504088896340736 / std::sqrt(static_cast<double>(shape.head_dim)));
  job.rows = range.count;
  job.scratch = thread_scratch;
  for (int32_t r = 0; r < range.count; ++r) {
    const Row row = row_of(call, range, pair, r);
    job.query[r] = row.query;
    job.out[r] = row.out;
    job.keys[r] = row.keys;
    prefetch<kWrite>(row.out, row_bytes());
  }
  if (task + stride < attend_tasks()) {
    const RowRange& next = rows[static_cast<size_t>((task + stride) % ranges)];
    const int64_t next_pair = (task + stride) / ranges;
    for (int32_t r = 0; r < next.count; ++r) {
      prefetch<kRead>(row_of(call, next, next_pair, r).query, row_bytes());
    }
    const StepBatch::Sequence& after = call.sequences[static_cast<size_t>(next.sequence)];
    const HeadCache cache = head_cache(call, after, next_pair);
    job.next = cache.head + static_cast<size_t>(cache.blocks[0]) * cache.block_stride;
    job.next_keys = std::min(kBlockTokens, after.past + after.length);
  }
  kernels.attend(job);
}

void Attention::run(const AttentionCall& call) {
  impl_->plan(call);
  const Impl& impl = *impl_;
  const auto append_ranges = static_cast<int64_t>(impl.appends.size());
  const auto row_ranges = static_cast<int64_t>(impl.rows.size());
  const int64_t append_tasks = append_ranges * impl.pairs(), attend_tasks = impl.attend_tasks();
  const auto append = [&](int64_t task) {
    const AppendRange& range = impl.appends[static_cast<size_t>(task % append_ranges)];
    impl.append(call, range, task / append_ranges);
  };
  const int threads = std::min(omp_get_max_threads(), impl.threads);
  if (threads <= 1) {
    auto* scratch = impl.scratch.as<std::byte>();
    // Pair by pair: what was just appended is still in the second-level cache.
    for (int64_t pair = 0; pair < impl.pairs(); ++pair) {
      for (int64_t i = 0; i < append_ranges; ++i) append(pair * append_ranges + i);
      for (int64_t i = 0; i < row_ranges; ++i) impl.attend(call, pair * row_ranges + i, 1, scratch);
    }
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    std::byte* scratch =
        impl.scratch.as<std::byte>() + impl.scratch_bytes * static_cast<size_t>(omp_get_thread_num());
#pragma omp for schedule(static)
    for (int64_t task = 0; task < append_tasks; ++task) append(task);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < attend_tasks; ++task) impl.attend(call, task, threads, scratch);
  }
}

}  // namespace kraken::cpu
