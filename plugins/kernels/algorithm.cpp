#include "algorithm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace kraken::kernels {
namespace {

constexpr int64_t kAnySize = std::numeric_limits<int64_t>::max();
constexpr int64_t kKiB = 1024, kMiB = 1024 * kKiB;

bool can_run(Algorithm algorithm, const Exchange& exchange) {
  constexpr int32_t kMaxPeers = 8;
  switch (algorithm) {
    case Algorithm::Folded:
      return exchange.has_peer_access && exchange.ranks <= kMaxPeers && exchange.joined_by_norm;
    case Algorithm::OneShot:
    case Algorithm::TwoShot:
      return exchange.has_peer_access && exchange.ranks <= kMaxPeers;
    case Algorithm::Multimem:
      return exchange.has_peer_access && exchange.ranks <= kMaxPeers && exchange.has_multicast &&
             exchange.sm >= 90;
    case Algorithm::Nccl:
      return true;
  }
  return false;
}

bool fits(const Rule& rule, const Exchange& exchange) {
  return (rule.ranks == 0 || rule.ranks == exchange.ranks) && exchange.sm >= rule.sm &&
         exchange.bytes <= rule.max_bytes && can_run(rule.choice.algorithm, exchange);
}

// Halfway on a logarithmic scale.
int64_t between(int64_t low, int64_t high) {
  return static_cast<int64_t>(std::sqrt(static_cast<double>(low) * static_cast<double>(high)));
}

// Exchanges that one rule can speak of: its ranks and architecture.
using Family = std::pair<int32_t, int32_t>;
using Fastest = std::map<int64_t, Measurement>;

// Like is compared with like: exchanges that a norm joins, for which the time includes both norms, and
// others.
Fastest fastest_by_size(const std::vector<Measurement>& measurements, const Family& family,
                        bool joined_by_norm) {
  Fastest fastest;
  for (const Measurement& one : measurements) {
    if (Family(one.exchange.ranks, one.exchange.sm) != family) continue;
    if (one.exchange.joined_by_norm != joined_by_norm) continue;
    if (!(one.microseconds > 0) || !can_run(one.choice.algorithm, one.exchange)) continue;
    const auto [at, is_new] = fastest.try_emplace(one.exchange.bytes, one);
    if (!is_new && one.microseconds < at->second.microseconds) at->second = one;
  }
  return fastest;
}

void append_rules(std::vector<Rule>& rules, const Family& family, const Fastest& fastest, bool only_folded) {
  for (auto at = fastest.begin(); at != fastest.end(); ++at) {
    const auto next = std::next(at);
    const Choice& choice = at->second.choice;
    if (only_folded && choice.algorithm != Algorithm::Folded) break;
    if (next != fastest.end() && next->second.choice == choice) continue;
    const int64_t end = next != fastest.end() ? between(at->first, next->first)
                        : only_folded         ? at->first
                                              : kAnySize;
    rules.push_back({family.first, family.second, end, choice});
  }
}

}  // namespace

// From what is published of such kernels on NVSwitch machines: with two ranks one-shot moves no more than any
// other; with more it wins while a message is a matter of latency. To be replaced by what test/gpu measures.
AlgorithmTable AlgorithmTable::built_in() {
  AlgorithmTable table;
  table.rules_ = {
      {1, 0, kAnySize, {Algorithm::Folded, 0}},      {1, 0, kAnySize, {Algorithm::OneShot, 8}},
      {0, 0, 64 * kKiB, {Algorithm::Folded, 0}},     {0, 0, 64 * kKiB, {Algorithm::OneShot, 4}},
      {0, 90, 64 * kMiB, {Algorithm::Multimem, 16}}, {2, 0, 8 * kMiB, {Algorithm::OneShot, 16}},
      {0, 0, 256 * kKiB, {Algorithm::OneShot, 8}},   {0, 0, 8 * kMiB, {Algorithm::TwoShot, 16}},
      {0, 0, kAnySize, {Algorithm::Nccl, 0}},
  };
  return table;
}

// Folded rules come first, so that an exchange that cannot be folded goes on to the best of the others. What
// is joined and not folded follows these too: it runs beside other work, so what it costs alone says little.
AlgorithmTable AlgorithmTable::from_measurements(const std::vector<Measurement>& measurements) {
  AlgorithmTable table;
  std::vector<Family> families;
  for (const Measurement& one : measurements) families.emplace_back(one.exchange.ranks, one.exchange.sm);
  // Newer architectures first: a rule speaks of its own and of all newer ones.
  std::sort(families.begin(), families.end(), [](const Family& a, const Family& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  families.erase(std::unique(families.begin(), families.end()), families.end());
  for (const Family& family : families) {
    append_rules(table.rules_, family, fastest_by_size(measurements, family, true), true);
    append_rules(table.rules_, family, fastest_by_size(measurements, family, false), false);
  }
  const AlgorithmTable fallback = built_in();
  table.rules_.insert(table.rules_.end(), fallback.rules_.begin(), fallback.rules_.end());
  return table;
}

Choice AlgorithmTable::choose(const Exchange& exchange) const {
  for (const Rule& rule : rules_) {
    if (fits(rule, exchange)) return rule.choice;
  }
  return {Algorithm::Nccl, 0};
}

}  // namespace kraken::kernels
