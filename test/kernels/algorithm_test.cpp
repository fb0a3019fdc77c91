#include "algorithm.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

namespace kraken::kernels {
namespace {

constexpr int64_t kMiB = 1 << 20;

Exchange exchange(int64_t bytes, int32_t ranks, int32_t sm = 80) {
  Exchange one;
  one.bytes = bytes;
  one.ranks = ranks;
  one.sm = sm;
  one.has_peer_access = true;
  return one;
}

std::string refusal(const std::string& text) {
  try {
    AlgorithmTable::parse(text, "table.txt");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(AlgorithmTable, BuiltInFollowsSizeAndHardware) {
  const AlgorithmTable table = AlgorithmTable::built_in();
  EXPECT_EQ(table.choose(exchange(8192, 4)).algorithm, Algorithm::OneShot);
  EXPECT_EQ(table.choose(exchange(kMiB, 2)).algorithm, Algorithm::OneShot);
  EXPECT_EQ(table.choose(exchange(kMiB, 8)).algorithm, Algorithm::TwoShot);
  EXPECT_EQ(table.choose(exchange(64 * kMiB, 8)).algorithm, Algorithm::Nccl);
  Exchange one = exchange(kMiB, 8, 90);
  one.has_multicast = true;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::Multimem);
  one.sm = 80;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::TwoShot) << "sm_80 has no multimem";
  one.has_peer_access = false;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::Nccl);
  EXPECT_EQ(table.choose(exchange(8192, 16)).algorithm, Algorithm::Nccl) << "more than 8 ranks";
  one = exchange(8192, 4);
  one.joined_by_norm = true;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::Folded);
}

TEST(AlgorithmTable, EveryChoiceCanBeLaunched) {
  const AlgorithmTable table = AlgorithmTable::built_in();
  for (const Rule& rule : table.rules()) {
    const bool has_blocks =
        rule.choice.algorithm != Algorithm::Folded && rule.choice.algorithm != Algorithm::Nccl;
    EXPECT_EQ(rule.choice.blocks > 0, has_blocks) << name_of(rule.choice.algorithm);
    EXPECT_LE(rule.choice.blocks, 64);
  }
}

TEST(AlgorithmTable, ReadsWhatItWrites) {
  const AlgorithmTable table = AlgorithmTable::built_in();
  const AlgorithmTable read = AlgorithmTable::parse(table.to_text(), "text");
  ASSERT_EQ(read.rules().size(), table.rules().size());
  EXPECT_EQ(read.to_text(), table.to_text());
}

TEST(AlgorithmTable, TheFirstRuleThatFitsWins) {
  const AlgorithmTable table = AlgorithmTable::parse(
      "# for two GPUs\n"
      "2 90 1000 two-shot 3  # small\n"
      "\n"
      "* * * one-shot 2\n",
      "table.txt");
  EXPECT_EQ(table.choose(exchange(1000, 2, 90)), (Choice{Algorithm::TwoShot, 3}));
  EXPECT_EQ(table.choose(exchange(1000, 2, 100)), (Choice{Algorithm::TwoShot, 3})) << "newer ones too";
  EXPECT_EQ(table.choose(exchange(1001, 2, 90)), (Choice{Algorithm::OneShot, 2}));
  EXPECT_EQ(table.choose(exchange(1000, 2, 80)), (Choice{Algorithm::OneShot, 2}));
  EXPECT_EQ(table.choose(exchange(1000, 4, 90)), (Choice{Algorithm::OneShot, 2}));
}

TEST(AlgorithmTable, SaysWhatIsWrongWithALine) {
  EXPECT_EQ(refusal("* * * one-shot"),
            "table.txt, line 1: expected \"ranks sm max_bytes algorithm blocks\", got 4 words");
  EXPECT_EQ(
      refusal("\n* * * ring 4"),
      "table.txt, line 2: algorithm must be one of folded, one-shot, two-shot, multimem, nccl, got \"ring\"");
  EXPECT_EQ(refusal("0 * * one-shot 4"),
            "table.txt, line 1: ranks must be * or a whole number from 1 to 2147483647, got \"0\"");
  EXPECT_EQ(refusal("2 9.0 * one-shot 4"),
            "table.txt, line 1: sm must be * or a whole number from 50 to 999, got \"9.0\"");
  EXPECT_EQ(refusal("2 90 99999999999999999999 one-shot 4"),
            "table.txt, line 1: max_bytes must be * or a whole number from 1 to 1125899906842624, got "
            "\"99999999999999999999\"");
  EXPECT_EQ(refusal("2 90 * one-shot 65"),
            "table.txt, line 1: blocks must be * or a whole number from 1 to 64, got \"65\"");
  EXPECT_EQ(refusal("2 90 * one-shot *"),
            "table.txt, line 1: blocks must be a whole number from 1 to 64, got \"*\"");
  EXPECT_EQ(refusal("2 90 * nccl 4"), "table.txt, line 1: blocks must be * for nccl, got \"4\"");
  EXPECT_EQ(refusal("# nothing\n"), "table.txt holds no rule");
  EXPECT_THROW(AlgorithmTable::read("/nowhere/table.txt"), std::invalid_argument);
}

TEST(AlgorithmTable, MeasurementsBecomeRules) {
  std::vector<Measurement> measurements;
  const auto measured = [&](int64_t bytes, Algorithm algorithm, int32_t blocks, double microseconds) {
    Exchange one = exchange(bytes, 4, 90);
    one.joined_by_norm = algorithm == Algorithm::Folded;
    measurements.push_back({one, {algorithm, blocks}, microseconds});
  };
  for (const int64_t bytes : {1000, 4000, 16000, 64000}) {
    const double size = static_cast<double>(bytes);
    measured(bytes, Algorithm::Folded, 0, 2 + size / 1000);
    measured(bytes, Algorithm::OneShot, 4, 5 + size / 2000);
    measured(bytes, Algorithm::OneShot, 8, 6 + size / 4000);
    measured(bytes, Algorithm::TwoShot, 16, 10 + size / 8000);
  }
  const AlgorithmTable table = AlgorithmTable::from_measurements(measurements);
  const auto choose = [&](int64_t bytes, bool joined) {
    Exchange one = exchange(bytes, 4, 90);
    one.joined_by_norm = joined;
    return table.choose(one);
  };
  EXPECT_EQ(choose(1000, true), (Choice{Algorithm::Folded, 0}));
  EXPECT_EQ(choose(4000, true), (Choice{Algorithm::Folded, 0}));
  EXPECT_EQ(choose(16000, true), (Choice{Algorithm::OneShot, 8}));
  EXPECT_EQ(choose(1000, false), (Choice{Algorithm::OneShot, 4}));
  EXPECT_EQ(choose(1999, false), (Choice{Algorithm::OneShot, 4})) << "up to halfway";
  EXPECT_EQ(choose(4000, false), (Choice{Algorithm::OneShot, 4}));
  EXPECT_EQ(choose(16000, false), (Choice{Algorithm::OneShot, 8}));
  EXPECT_EQ(choose(64000, false), (Choice{Algorithm::TwoShot, 16}));
  EXPECT_EQ(choose(1 << 30, false), (Choice{Algorithm::TwoShot, 16})) << "as the largest measured";
  EXPECT_EQ(table.choose(exchange(8192, 8, 80)), AlgorithmTable::built_in().choose(exchange(8192, 8, 80)));
  EXPECT_EQ(AlgorithmTable::parse(table.to_text(), "text").to_text(), table.to_text());
}

}  // namespace
}  // namespace kraken::kernels
