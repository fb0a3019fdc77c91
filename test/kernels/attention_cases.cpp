#include "attention_reference.h"
#include "cases.h"

namespace kraken::test {
namespace {

AttentionCase make_case(DType dtype, int32_t ways, int32_t heads, int32_t kv_heads, int32_t head_dim) {
  AttentionCase one;
  one.shape = {dtype, ways, heads, kv_heads, head_dim};
  one.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  return one;
}

struct Size {
  int32_t ways, heads, kv_heads, head_dim;
  RotaryStyle style;
  int32_t rotary_dims;
};

// Every instance of the kernels (heads up to 64, 128, 192, 256 elements), the head dimensions of real
// checkpoints, rows that are whole vectors and that are not, groups of heads, and pairs that lie across
// vectors.
constexpr Size kSizes[] = {{1, 2, 2, 1, RotaryStyle::None, 0},
                           {2, 3, 1, 20, RotaryStyle::HalfSplit, 20},
                           {1, 2, 1, 38, RotaryStyle::Interleaved, 10},
                           {1, 4, 2, 64, RotaryStyle::HalfSplit, 64},
                           {2, 1, 1, 111, RotaryStyle::None, 0},
                           {1, 2, 2, 113, RotaryStyle::HalfSplit, 28},
                           {1, 1, 1, 128, RotaryStyle::Interleaved, 128},
                           {1, 2, 1, 161, RotaryStyle::Interleaved, 160},
                           {1, 1, 1, 168, RotaryStyle::HalfSplit, 168},
                           {2, 1, 1, 209, RotaryStyle::None, 0},
                           {1, 1, 1, 240, RotaryStyle::HalfSplit, 60},
                           {1, 1, 1, 256, RotaryStyle::Interleaved, 64}};

// Prompts, chunks of prompts and decoding side by side: tiles of both kinds in one step.
void check_steps(Checks& checks, AttentionCase one, int64_t offset) {
  AttentionRun run(one, 3, 17, 0, offset);
  run.step(checks, "prompts", {19, 0, 2});
  run.step(checks, "mixed", {1, 5, 21});
  run.step(checks, "decode", {1, 1, 1});
}

}  // namespace

Checks attention_checks(DType dtype) {
  Checks checks;
  for (const Size& size : kSizes) {
    if (kIsSlow && size.head_dim % 2 == 0 && size.head_dim != 20) continue;
    AttentionCase one = make_case(dtype, size.ways, size.heads, size.kv_heads, size.head_dim);
    one.rotary = rotary_of(size.style, size.rotary_dims);
    check_steps(checks, one, 0);
    if (size.head_dim == 64) check_steps(checks, one, 1);
  }
  {
    // Longer than a tile of rows and several portions of keys; then long enough for decoding to be split.
    AttentionCase one = make_case(dtype, 1, 1, 1, 20);
    one.table_width = 24;
    AttentionRun run(one, 2, 3);
    run.step(checks, "long prompt", {150, 1});
    run.step(checks, "long chunk", {70, 1});
    run.step(checks, "split decode", {1, 1});
    run.step(checks, "split decode of one", {1, 0});
  }
  {
    AttentionCase one = make_case(dtype, 2, 2, 1, 38);
    one.rotary = rotary_of(RotaryStyle::HalfSplit, 38);
    AttentionRun run(one, 3, 5);
    run.step(checks, "last rows", {20, 1, 9}, {19, 20, 29});
    run.step(checks, "some rows", {12, 1, 1}, {0, 3, 4, 5, 6, 7, 8, 10, 11, 13});
    run.step(checks, "rows of one", {3, 4, 2}, {5});
  }
  {
    // A group larger than a small tile.
    AttentionCase one = make_case(dtype, 1, 20, 1, 20);
    one.table_width = 20;
    AttentionRun run(one, 2, 6);
    run.step(checks, "large group, prompt", {5, 2});
    run.step(checks, "large group, decode", {1, 1});
  }
  {
    // More sequences than a warp's lanes have turns for.
    AttentionCase one = make_case(dtype, 1, 1, 1, 8);
    one.block_tokens = 2;
    AttentionRun run(one, 150, 7);
    std::vector<int32_t> lengths(150, 1);
    run.step(checks, "many sequences", lengths);
    lengths[3] = lengths[140] = 0;
    lengths[149] = 4;
    run.step(checks, "many sequences, some without tokens", lengths);
  }
  {
    AttentionCase one = make_case(dtype, 2, 2, 1, 113);
    one.rotary = rotary_of(RotaryStyle::Interleaved, 32);
    one.paged = false;
    AttentionRun run(one, 3, 8);
    run.step(checks, "no cache", {20, 1, 3});
    run.step(checks, "no cache, another step", {2, 2, 1}, {1, 3, 4});
  }
  return checks;
}

// Where an angle in float32 would be wrong in its third digit, and scores are far apart.
Checks attention_accuracy_checks() {
  Checks checks;
  AttentionCase one = make_case(DType::Float32, 1, 1, 1, 64);
  one.rotary = rotary_of(RotaryStyle::HalfSplit, 64);
  one.scale = 3;
  AttentionRun run(one, 1, 9, 1000000);
  run.step(checks, "a million tokens in", {40});
  return checks;
}

namespace {

// Sizes for arguments and garbage: one step of T = 6 tokens in S = 2 sequences.
struct SmallStep {
  static constexpr int64_t kTokens = 6, kSequences = 2, kWidth = 3, kBlocks = 7, kGuard = 4096;
  AttentionCase one = make_case(DType::Float16, 1, 2, 1, 20);
  Array qkv{DType::Float16, kTokens * 4 * 20}, out{DType::Float16, kTokens * 2 * 20};
  size_t cache_bytes = static_cast<size_t>(kBlocks * kernels::kv_block_bytes(one.shape, 4));
  DeviceMemory cache = device_memory(cache_bytes + 2 * kGuard);
  DeviceMemory workspace =
      device_memory(static_cast<size_t>(kernels::attention_workspace(one.shape, kTokens)));
  IntArray positions{{0, 1, 2, 3, 0, 1}}, begins{{0, 4, 6}}, past{{0, 0}}, tables{{5, 1, 2, 0, 3, 6}},
      wanted{{3, 5}};

  AttentionSpec spec() const {
    AttentionSpec spec;
    spec.shape = one.shape;
    spec.rotary = rotary_of(RotaryStyle::HalfSplit, 10);
    spec.tokens = spec.rows = kTokens;
    spec.sequences = kSequences;
    spec.qkv = qkv.data();
    spec.positions = positions.data();
    spec.sequence_begins = begins.data();
    spec.past_lengths = past.data();
    spec.block_tables = tables.data();
    spec.table_width = kWidth;
    spec.block_tokens = 4;
    spec.cache_blocks = kBlocks;
    spec.cache = cache.get() + kGuard;
    spec.workspace = workspace.get();
    spec.out = out.data();
    return spec;
  }
};

}  // namespace

Checks attention_garbage_checks() {
  Checks checks;
  const SmallStep step;
  KRAKEN_CUDA(cudaMemset(step.cache.get(), 0x5a, step.cache_bytes + 2 * SmallStep::kGuard));
  std::mt19937 random(11);
  const auto garbage = [&](size_t count) {
    std::vector<int32_t> values(count);
    for (int32_t& value : values) {
      value = random() % 2 == 0 ? static_cast<int32_t>(random()) : static_cast<int32_t>(random() % 16) - 4;
    }
    return IntArray(values);
  };
  for (int round = 0; round < (kIsSlow ? 10 : 60); ++round) {
    const IntArray begins = garbage(3), past = garbage(2), tables = garbage(6), positions = garbage(6),
                   wanted = garbage(2);
    AttentionSpec spec = step.spec();
    spec.sequence_begins = begins.data();
    spec.past_lengths = past.data();
    spec.block_tables = tables.data();
    spec.positions = positions.data();
    if (round % 3 == 1) spec.cache = nullptr;
    if (round % 3 == 2) {
      spec.wanted_rows = wanted.data();
      spec.rows = 2;
    }
    checks.push_back(expect_error("attention of garbage", kernels::attention(spec, nullptr), cudaSuccess));
  }
  std::vector<char> bytes(step.cache_bytes + 2 * SmallStep::kGuard);
  KRAKEN_CUDA(cudaMemcpy(bytes.data(), step.cache.get(), bytes.size(), cudaMemcpyDefault));
  const auto untouched = [](auto begin, auto end) {
    return std::all_of(begin, end, [](char byte) { return byte == 0x5a; });
  };
  checks.push_back(expect_true("attention of garbage keeps within the cache",
                               untouched(bytes.begin(), bytes.begin() + SmallStep::kGuard) &&
                                   untouched(bytes.end() - SmallStep::kGuard, bytes.end())));
  return checks;
}

Checks attention_argument_checks() {
  Checks checks;
  const SmallStep step;
  const auto gives = [&](const char* what, cudaError_t want, auto change) {
    AttentionSpec spec = step.spec();
    change(spec);
    checks.push_back(
        expect_error(std::string("attention: ") + what, kernels::attention(spec, nullptr), want));
  };
  const auto refuses = [&](const char* what, auto change) { gives(what, cudaErrorInvalidValue, change); };
  gives("accepts", cudaSuccess, [](AttentionSpec&) {});
  gives("no tokens", cudaSuccess, [](AttentionSpec& spec) {
    spec.tokens = spec.rows = 0;
    spec.qkv = spec.out = nullptr;
  });
  gives("no rows wanted", cudaSuccess, [&](AttentionSpec& spec) {
    spec.wanted_rows = step.wanted.data();
    spec.rows = 0;
    spec.out = nullptr;
  });
  refuses("more rows than tokens", [&](AttentionSpec& spec) {
    spec.wanted_rows = step.wanted.data();
    spec.rows = 7;
  });
  refuses("fewer rows than tokens", [](AttentionSpec& spec) { spec.rows = 5; });
  refuses("no sequences", [](AttentionSpec& spec) { spec.sequences = 0; });
  refuses("no input", [](AttentionSpec& spec) { spec.qkv = nullptr; });
  refuses("odd address", [](AttentionSpec& spec) { spec.out = static_cast<char*>(spec.out) + 1; });
  refuses("no positions", [](AttentionSpec& spec) { spec.positions = nullptr; });
  refuses("no lengths", [](AttentionSpec& spec) { spec.past_lengths = nullptr; });
  refuses("no tables", [](AttentionSpec& spec) { spec.block_tables = nullptr; });
  refuses("no workspace", [](AttentionSpec& spec) { spec.workspace = nullptr; });
  refuses("cache between vectors",
          [](AttentionSpec& spec) { spec.cache = static_cast<char*>(spec.cache) + 8; });
  refuses("blocks of 3", [](AttentionSpec& spec) { spec.block_tokens = 3; });
  refuses("no blocks", [](AttentionSpec& spec) { spec.cache_blocks = 0; });
  refuses("a head too long", [](AttentionSpec& spec) { spec.shape.head_dim = 257; });
  refuses("3 heads in groups of 2", [](AttentionSpec& spec) {
    spec.shape.heads = 3;
    spec.shape.kv_heads = 2;
  });
  refuses("an odd rotary", [](AttentionSpec& spec) { spec.rotary.dims = 7; });
  refuses("a rotary wider than a head", [](AttentionSpec& spec) { spec.rotary.dims = 22; });
  return checks;
}

}  // namespace kraken::test
