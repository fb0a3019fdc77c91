#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "model/graph.h"
#include "model_configs.h"
#include "model_json.h"
#include "weights/build.h"
#include "weights/int8_rows.h"
#include "weights/rank_file.h"
#include "weights/tensor_source.h"

namespace kraken {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class WeightsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "kraken-weights-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string path(const std::string& name) const { return (directory_ / name).string(); }

  template <typename T>
  std::string write(const std::string& name, const std::vector<T>& values) const {
    std::ofstream out(path(name), std::ios::binary);
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(T)));
    return path(name);
  }

  fs::path directory_;
};

std::string code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return "no error";
}

TEST_F(WeightsTest, ReadsThroughStrides) {
  std::vector<float> numbers(24);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  const std::string file = write("data.bin", numbers);
  // A [4, 6] matrix read as its transpose [6, 4].
  const Json json = {{"m",
                      {{"source", "file"},
                       {"file", file},
                       {"offset", 0},
                       {"dtype", "float32"},
                       {"shape", {6, 4}},
                       {"strides", {1, 6}}}}};
  const TensorSources sources = TensorSources::parse(json.dump());
  const WeightPiece piece{"m", {1, 2}, {3, 2}, 0};
  std::vector<float> out(6);
  read_piece(sources.get("m"), piece, 0, 6, out.data());
  EXPECT_EQ(out, (std::vector<float>{13, 19, 14, 20, 15, 21}));
  read_piece(sources.get("m"), piece, 3, 2, out.data());
  EXPECT_EQ(out[0], 20);
  EXPECT_EQ(out[1], 15);
}

TEST_F(WeightsTest, ReadsHalfPrecision) {
  // 1.0, −2.0, the smallest subnormal and the largest finite float16; 1.0 and −2.5 in bfloat16.
  const std::string half = write<uint16_t>("half.bin", {0x3c00, 0xc000, 0x0001, 0x7bff});
  const std::string brain = write<uint16_t>("brain.bin", {0x3f80, 0xc020});
  const auto view = [](const std::string& file, const char* dtype, int64_t n) {
    return Json{{"source", "file"}, {"file", file}, {"offset", 0},
                {"dtype", dtype},   {"shape", {n}}, {"strides", {1}}};
  };
  const TensorSources sources = TensorSources::parse(
      Json{{"half", view(half, "float16", 4)}, {"brain", view(brain, "bfloat16", 2)}}.dump());
  std::vector<float> out(4);
  read_piece(sources.get("half"), {"half", {0}, {4}, 0}, 0, 4, out.data());
  EXPECT_EQ(out, (std::vector<float>{1.0f, -2.0f, 0x1p-24f, 65504.0f}));
  read_piece(sources.get("brain"), {"brain", {0}, {2}, 0}, 0, 2, out.data());
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.5f);
}

TEST_F(WeightsTest, RefusesTruncatedFilesAndBadValues) {
  const std::string file = write<float>("data.bin", {1, std::numeric_limits<float>::quiet_NaN(), 3});
  const auto view = [&](int64_t n, int64_t offset) {
    return Json{{"t",
                 {{"source", "file"},
                  {"file", file},
                  {"offset", offset},
                  {"dtype", "float32"},
                  {"shape", {n}},
                  {"strides", {1}}}}}
        .dump();
  };
  EXPECT_EQ(code_of([&] { TensorSources::parse(view(4, 0)); }), "ERR_CHECKPOINT_FORMAT");
  EXPECT_EQ(code_of([&] { TensorSources::parse(view(3, 4)); }), "ERR_CHECKPOINT_FORMAT");
  const TensorSources sources = TensorSources::parse(view(3, 0));
  float out[3];
  EXPECT_EQ(code_of([&] {
              read_piece(sources.get("t"), {"t", {0}, {3}, 0}, 0, 3, out);
            }),
            "ERR_CHECKPOINT_VALUES");
  EXPECT_EQ(code_of([&] { sources.get("absent"); }), "ERR_CHECKPOINT_TENSORS");
  EXPECT_EQ(code_of([] { MappedFile("/nonexistent/file"); }), "ERR_IO");
}

TEST(RandomWeights, AreAFunctionOfSeedNameAndIndexWithTheRightMoments) {
  const auto source = [](const char* name, int seed) {
    return TensorSources::parse(
        Json{{name, {{"source", "random"}, {"seed", seed}, {"std", 0.02}, {"shape", {1000, 100}}}}}.dump());
  };
  const auto read = [&](const char* name, int seed) {
    std::vector<float> out(100000);
    read_piece(source(name, seed).get(name), {name, {0, 0}, {1000, 100}, 0}, 0, 100000, out.data());
    return out;
  };
  const std::vector<float> a = read("a", 1);
  EXPECT_EQ(a, read("a", 1));
  EXPECT_NE(a, read("b", 1));
  EXPECT_NE(a, read("a", 2));
  double sum = 0, squares = 0;
  for (const float x : a) {
    sum += x;
    squares += double{x} * x;
  }
  EXPECT_NEAR(sum / 1e5, 0, 0.02 * 4 / std::sqrt(1e5));
  EXPECT_NEAR(std::sqrt(squares / 1e5), 0.02, 0.02 * 0.01);

  // A slice has the same numbers as the whole.
  float part[7];
  read_piece(source("a", 1).get("a"), {"a", {500, 93}, {1, 7}, 0}, 0, 7, part);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(part[i], a[static_cast<size_t>(50093 + i)]);
}

// Every canonical tensor the Graphs of a configuration ask for, with random elements.
std::string random_tensors(const ModelConfig& config) {
  Json tensors;
  const Graph graph = build_graph(config, {0, 1, true});
  for (const WeightSpec& weight : graph.weights) {
    for (const WeightPiece& piece : weight.pieces) {
      std::vector<int64_t> shape(piece.size.size());
      for (size_t i = 0; i < shape.size(); ++i) shape[i] = piece.begin[i] + piece.size[i];
      if (piece.source == "conjunction.weight") shape[1] = config.ways;
      tensors[piece.source] = {{"source", "random"}, {"seed", 3}, {"std", 0.5}, {"shape", shape}};
    }
  }
  return tensors.dump();
}

std::string config_json(const ModelConfig& config) {
  return test::model_json(config).dump();
}

TEST_F(WeightsTest, ShardsOfTwoRanksAreTheHalvesOfOne) {
  const ModelConfig config = test::small_config(Architecture::Gpt);
  for (const int ranks : {1, 2}) {
    const std::string to = path("ranks" + std::to_string(ranks));
    fs::create_directory(to);
    uint64_t last = 0, all = 0;
    build_rank_files({config_json(config), random_tensors(config), ranks, DType::Float32, to},
                     [&](uint64_t written, uint64_t total) {
                       last = written;
                       all = total;
                       return true;
                     });
    EXPECT_EQ(last, all);
  }
  const RankFile whole = RankFile::open(path("ranks1/rank0.engine"));
  for (int rank = 0; rank < 2; ++rank) {
    const RankFile half = RankFile::open(path("ranks2/rank" + std::to_string(rank) + ".engine"));
    // attn.proj [1, d, heads·hd]: columns are split.
    const auto* a = reinterpret_cast<const float*>(whole.get("layers.1.attn.proj.weight", {1, 38, 36}).data);
    const auto* b = reinterpret_cast<const float*>(half.get("layers.1.attn.proj.weight", {1, 38, 18}).data);
    for (int row = 0; row < 38; ++row) {
      for (int column = 0; column < 18; ++column) {
        ASSERT_EQ(b[row * 18 + column], a[row * 36 + rank * 18 + column]);
      }
    }
    // qkv [1, 3·heads·hd, d]: each of q, k, v is split by heads.
    const auto* q = reinterpret_cast<const float*>(whole.get("layers.2.attn.qkv.weight", {1, 108, 38}).data);
    const auto* p = reinterpret_cast<const float*>(half.get("layers.2.attn.qkv.weight", {1, 54, 38}).data);
    for (int part = 0; part < 3; ++part) {
      for (int i = 0; i < 18 * 38; ++i) {
        ASSERT_EQ(p[part * 18 * 38 + i], q[(part * 36 + rank * 18) * 38 + i]);
      }
    }
  }
  EXPECT_EQ(code_of([&] { whole.get("layers.1.attn.proj.weight", {1, 38, 37}); }), "ERR_ENGINE_CORRUPT");
  EXPECT_EQ(code_of([&] { whole.get("nothing", {1}); }), "ERR_ENGINE_CORRUPT");
}

TEST_F(WeightsTest, ConjunctionOfAWayIsItsColumns) {
  const ModelConfig config = test::small_config(Architecture::Kraken);
  for (const int ranks : {1, 4}) {
    fs::create_directory(path("k" + std::to_string(ranks)));
    build_rank_files({config_json(config), random_tensors(config), ranks, DType::Float32,
                      path("k" + std::to_string(ranks))},
                     {});
  }
  const RankFile whole = RankFile::open(path("k1/rank0.engine"));
  const auto* all = reinterpret_cast<const float*>(whole.get("conjunction.weight", {4, 38, 38}).data);
  for (int rank = 0; rank < 4; ++rank) {
    const RankFile file = RankFile::open(path("k4/rank" + std::to_string(rank) + ".engine"));
    const auto* own = reinterpret_cast<const float*>(file.get("conjunction.weight", {1, 38, 38}).data);
    for (int i = 0; i < 38 * 38; ++i) ASSERT_EQ(own[i], all[rank * 38 * 38 + i]);
  }
  // The bias is in the sum once: on rank 0, and there only in the first way.
  const auto* bias = reinterpret_cast<const float*>(whole.get("conjunction.bias", {4, 38}).data);
  for (int i = 38; i < 4 * 38; ++i) EXPECT_EQ(bias[i], 0);
  EXPECT_NE(bias[0], 0);
}

TEST_F(WeightsTest, Float16IsTheNearestAndWhatItCannotHoldIsRefused) {
  const ModelConfig config = test::small_config(Architecture::Gpt);
  // The largest and what rounds to it, subnormals and what rounds to them or to zero, ties, a negative zero.
  const std::vector<float> first = {65504.0f, -65519.99f, 0x1p-24f,     -0x1.8p-24f,  0x1p-25f,
                                    0x1p-14f, -0.0f,      1 + 0x1p-11f, 1 + 0x3p-11f, 0.1f};
  const std::vector<uint16_t> want = {0x7bff, 0xfbff, 0x0001, 0x8002, 0x0000,
                                      0x0400, 0x8000, 0x3c00, 0x3c02, 0x2e66};
  std::vector<float> table(static_cast<size_t>(config.vocab) * static_cast<size_t>(config.width), 0.25f);
  std::ranges::copy(first, table.begin());
  const auto tensors = [&](const std::vector<float>& elements) {
    Json json = Json::parse(random_tensors(config));
    json["embed.tokens"] = {
        {"source", "file"},   {"file", write("table.bin", elements)},  {"offset", 0},
        {"dtype", "float32"}, {"shape", {config.vocab, config.width}}, {"strides", {config.width, 1}}};
    return json.dump();
  };
  for (const DType dtype : {DType::Float32, DType::Float16}) {
    fs::create_directory(path(name_of(dtype)));
    build_rank_files({config_json(config), tensors(table), 1, dtype, path(name_of(dtype))}, {});
  }
  const RankFile exact = RankFile::open(path("float32/rank0.engine")),
                 file = RankFile::open(path("float16/rank0.engine"));
  for (const WeightSpec& weight : build_graph(config, {0, 1, true}).weights) {
    const RankFile::Entry &entry = file.get(weight.name, weight.shape),
                          &before = exact.get(weight.name, weight.shape);
    const size_t count = before.bytes / sizeof(float);
    const auto* values = reinterpret_cast<const float*>(before.data);
    if (weight.role == WeightRole::Vector) {
      ASSERT_EQ(entry.dtype, DType::Float32);
      ASSERT_EQ(0, std::memcmp(entry.data, before.data, before.bytes)) << weight.name;
      continue;
    }
    ASSERT_EQ(entry.dtype, DType::Float16);
    const auto* bits = reinterpret_cast<const uint16_t*>(entry.data);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(bits[i], float_to_float16(values[i])) << weight.name;
    if (weight.name == "embed.tokens") {
      EXPECT_EQ(std::vector<uint16_t>(bits, bits + want.size()), want);
    }
  }

  for (const float value : {65520.0f, -7e4f, 1e38f}) {
    table.back() = value;
    try {
      build_rank_files({config_json(config), tensors(table), 1, DType::Float16, path("float16")}, {});
      ADD_FAILURE() << value << " was stored";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "ERR_OPTION");
      for (const char* part : {"embed.tokens", "beyond float16's 65504", "use \"bfloat16\""})
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

TEST_F(WeightsTest, Int8KeepsEveryRowWithinHalfAStep) {
  const ModelConfig config = test::small_config(Architecture::Gpt);
  for (const DType dtype : {DType::Float32, DType::BFloat16, DType::Int8}) {
    fs::create_directory(path(name_of(dtype)));
    build_rank_files({config_json(config), random_tensors(config), 1, dtype, path(name_of(dtype))},
                     [](uint64_t written, uint64_t total) { return written <= total; });
  }
  const RankFile exact = RankFile::open(path("float32/rank0.engine")),
                 rounded = RankFile::open(path("bfloat16/rank0.engine")),
                 file = RankFile::open(path("int8/rank0.engine"));
  for (const WeightSpec& weight : build_graph(config, {0, 1, true}).weights) {
    const RankFile::Entry& entry = file.get(weight.name, weight.shape);
    if (weight.role != WeightRole::Matrix) {  // as in a bfloat16 engine
      const RankFile::Entry& same = rounded.get(weight.name, weight.shape);
      ASSERT_EQ(entry.dtype, same.dtype);
      ASSERT_EQ(0, std::memcmp(entry.data, same.data, same.bytes)) << weight.name;
      continue;
    }
    ASSERT_EQ(entry.dtype, DType::Int8);
    const int64_t rows = weight.shape[0] * weight.shape[1], k = weight.shape[2];
    const auto* values = reinterpret_cast<const int8_t*>(entry.data);
    const auto* scales = reinterpret_cast<const float*>(
        file.get(int8_scales_name(weight.name), {weight.shape[0], weight.shape[1]}).data);
    const auto* want = reinterpret_cast<const float*>(exact.get(weight.name, weight.shape).data);
    for (int64_t row = 0; row < rows; ++row) {
      int largest = 0;
      for (int64_t i = row * k; i < (row + 1) * k; ++i) {
        largest = std::max(largest, std::abs(int{values[i]}));
        ASSERT_NEAR(static_cast<float>(values[i]) * scales[row], want[i], 0.5001f * scales[row])
            << weight.name;
      }
      ASSERT_EQ(largest, 127) << weight.name;
    }
  }
}

TEST_F(WeightsTest, Int8RowsOfZerosHaveNoScaleAndEndlessOnesAreRefused) {
  int8_t out[3] = {1, 1, 1};
  for (const float tiny : {0.0f, 1e-40f}) {
    const float row[] = {tiny, -tiny, tiny};
    EXPECT_EQ(quantise_int8_row(row, 3, out), 0.0f);
    EXPECT_EQ(std::vector<int8_t>(out, out + 3), (std::vector<int8_t>{0, 0, 0}));
  }
  const float row[] = {-2.54f, 0.02f, 1.0f};
  EXPECT_FLOAT_EQ(quantise_int8_row(row, 3, out), 0.02f);
  EXPECT_EQ(std::vector<int8_t>(out, out + 3), (std::vector<int8_t>{-127, 1, 50}));

  ModelConfig config = test::small_config(Architecture::Gpt);
  config.ffn = static_cast<int>(kMostInt8Columns) + 1;
  fs::create_directory(path("wide"));
  EXPECT_EQ(
      code_of([&] {
        build_rank_files({config_json(config), random_tensors(config), 1, DType::Int8, path("wide")}, {});
      }),
      "ERR_OPTION");
}

TEST_F(WeightsTest, FailuresAreCodedAndCancelStops) {
  const ModelConfig config = test::small_config(Architecture::Gpt);
  const BuildOptions options{config_json(config), random_tensors(config), 2, DType::BFloat16, path("out")};
  EXPECT_EQ(code_of([&] { build_rank_files(options, {}); }), "ERR_IO");  // no such directory
  fs::create_directory(path("out"));
  EXPECT_EQ(code_of([&] { build_rank_files(options, [](uint64_t, uint64_t) { return false; }); }),
            "ERR_ABORTED");
  BuildOptions wrong = options;
  wrong.ranks = 5;
  EXPECT_EQ(code_of([&] { build_rank_files(wrong, {}); }), "ERR_RANKS");
  wrong = options;
  wrong.tensors_json = "{}";
  EXPECT_EQ(code_of([&] { build_rank_files(wrong, {}); }), "ERR_CHECKPOINT_TENSORS");
}

TEST_F(WeightsTest, FullDiskIsACodedError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const ModelConfig config = test::small_config(Architecture::Gpt);
  fs::create_directory(path("full"));
  fs::create_symlink("/dev/full", path("full/rank0.engine"));
  EXPECT_EQ(
      code_of([&] {
        build_rank_files({config_json(config), random_tensors(config), 1, DType::Float32, path("full")}, {});
      }),
      "ERR_IO");
}

TEST_F(WeightsTest, DamagedRankFilesAreRefused) {
  const auto bytes = [&](const std::string& content) {
    std::ofstream(path("bad.engine"), std::ios::binary) << content;
    return code_of([&] { RankFile::open(path("bad.engine")); });
  };
  EXPECT_EQ(bytes(""), "ERR_ENGINE_CORRUPT");
  EXPECT_EQ(bytes("short"), "ERR_ENGINE_CORRUPT");
  EXPECT_EQ(bytes(std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10)), "ERR_ENGINE_CORRUPT");
  EXPECT_EQ(bytes(std::string("\x02\0\0\0\0\0\0\0[]", 10)),
            "no error");  // no tensors: refused when asked for one
  EXPECT_EQ(bytes(std::string("\x02\0\0\0\0\0\0\0{", 9)), "ERR_ENGINE_CORRUPT");
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  EXPECT_EQ(bytes(file + header + "1234"), "ERR_ENGINE_CORRUPT");
  EXPECT_EQ(bytes(file + header + "12345678"), "no error");
}

}  // namespace
}  // namespace kraken
