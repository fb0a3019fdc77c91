#include "runtime/rank_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/local/local_group.h"

namespace kraken {
namespace {

const auto kIgnore = [](int, const std::string&) {};

TEST(RankGroup, RunsEveryRankOnItsOwnThread) {
  for (int ranks : {1, 2, 4, 7}) {
    RankGroup group(ranks);
    std::vector<std::thread::id> threads(static_cast<size_t>(ranks));
    group.run([&](int rank) { threads[static_cast<size_t>(rank)] = std::this_thread::get_id(); }, kIgnore);
    EXPECT_EQ(threads[0], std::this_thread::get_id());
    EXPECT_EQ(std::set<std::thread::id>(threads.begin(), threads.end()).size(), static_cast<size_t>(ranks));
    // The same ones every time, and what they wrote is visible afterwards.
    std::vector<int> plain(static_cast<size_t>(ranks), 0);
    for (int round = 0; round < 500; ++round) {
      group.run(
          [&](int rank) {
            const auto index = static_cast<size_t>(rank);
            if (threads[index] == std::this_thread::get_id()) ++plain[index];
          },
          kIgnore);
      for (int count : plain) ASSERT_EQ(count, round + 1);
    }
  }
}

TEST(RankGroup, ReportsTheFirstFailureAtOnceAndRethrowsIt) {
  for (int failing : {0, 1, 3}) {
    RankGroup group(4);
    auto communicators = make_local_group(4);
    std::atomic<int> reports{0};
    std::string reason;
    try {
      group.run(
          [&](int rank) {
            if (rank == failing) throw std::runtime_error("kaputt");
            communicators[static_cast<size_t>(rank)]->barrier();  // would wait for ever
          },
          [&](int rank, const std::string& what) {
            ++reports;
            EXPECT_EQ(rank, failing);
            reason = what;
            communicators[0]->abort(what);
          });
      ADD_FAILURE() << "run() should throw";
    } catch (const Error& error) {
      ADD_FAILURE() << "a consequence was rethrown: " << error.what();
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "kaputt");
    }
    EXPECT_EQ(reports, 1);
    EXPECT_NE(reason.find("rank " + std::to_string(failing)), std::string::npos) << reason;
    std::atomic<int> ran{0};
    group.run([&](int) { ++ran; }, kIgnore);  // it goes on working
    EXPECT_EQ(ran, 4);
  }
}

TEST(RankGroup, JoinsWithoutEverRunning) {
  RankGroup group(5);
}

}  // namespace
}  // namespace kraken
