// Shortlists and masses of rows, against sorting and against the CPU's own weights: not near, the same.
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "cases.h"
#include "runtime/vector_math.h"
#include "shortlist.h"
#include "values.h"

namespace kraken::test {
namespace {

using kernels::Candidate;
using kernels::ShortlistHead;
using kernels::ShortlistRequest;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
DeviceMemory on_device(const std::vector<T>& values) {
  DeviceMemory memory = device_memory(values.size() * sizeof(T));
  KRAKEN_CUDA(cudaMemcpy(memory.get(), values.data(), values.size() * sizeof(T), cudaMemcpyDefault));
  return memory;
}

struct Answer {
  ShortlistHead head;
  std::vector<Candidate> candidates;
};

// All of a row's columns on rank 1 of 3, whose neighbours have seen nothing larger than −inf.
std::vector<Answer> ask(const std::vector<float>& logits, int32_t columns,
                        const std::vector<ShortlistRequest>& requests, int32_t capacity) {
  constexpr int32_t kRank = 1, kRanks = 3;
  const auto rows = static_cast<int32_t>(requests.size());
  const DeviceMemory device_logits = on_device(logits), device_requests = on_device(requests);
  std::vector<float> maxima(requests.size() * kRanks, 7.0f);
  const DeviceMemory device_maxima = on_device(maxima);
  const auto bytes = static_cast<size_t>(kernels::shortlist_bytes(capacity));
  std::vector<char> out(requests.size() * bytes, 0x55);
  const DeviceMemory device_out = on_device(out);
  const auto* row_logits = reinterpret_cast<const float*>(device_logits.get());
  auto* all_maxima = reinterpret_cast<float*>(device_maxima.get());
  KRAKEN_CUDA(kernels::row_maxima(row_logits, rows, columns, kRank, kRanks, all_maxima, nullptr));
  KRAKEN_CUDA(cudaMemcpy(maxima.data(), all_maxima, maxima.size() * sizeof(float), cudaMemcpyDefault));
  for (size_t i = 0; i < maxima.size(); ++i) {
    if (i / requests.size() == kRank) continue;
    if (maxima[i] != 0.0f) throw std::runtime_error("row_maxima left something at another rank's place");
    maxima[i] = -kInfinity;
  }
  KRAKEN_CUDA(cudaMemcpy(all_maxima, maxima.data(), maxima.size() * sizeof(float), cudaMemcpyDefault));
  KRAKEN_CUDA(kernels::shortlist(row_logits, rows, columns,
                                 reinterpret_cast<const ShortlistRequest*>(device_requests.get()), all_maxima,
                                 kRanks, capacity, device_out.get(), nullptr));
  KRAKEN_CUDA(cudaMemcpy(out.data(), device_out.get(), out.size(), cudaMemcpyDefault));
  std::vector<Answer> answers(requests.size());
  for (size_t row = 0; row < answers.size(); ++row) {
    const char* place = out.data() + row * bytes;
    std::memcpy(&answers[row].head, place, sizeof(ShortlistHead));
    const int32_t count = answers[row].head.count;
    if (count <= 0 || count > capacity) continue;
    answers[row].candidates.resize(static_cast<size_t>(count));
    std::memcpy(answers[row].candidates.data(), place + sizeof(ShortlistHead),
                static_cast<size_t>(count) * sizeof(Candidate));
  }
  return answers;
}

// How many things are wrong.
double compare(const Answer& got, std::span<const float> row, const ShortlistRequest& request) {
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](int32_t column) { return row[static_cast<size_t>(column)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  std::erase_if(order, [&](int32_t column) { return logit(column) == -kInfinity; });
  const bool is_whole = order.size() <= static_cast<size_t>(request.count);
  order.resize(std::min(order.size(), static_cast<size_t>(request.count)));
  std::sort(order.begin(), order.end());

  double wrong = (got.head.is_whole != 0) == is_whole && got.head.has_numbers == 1 ? 0 : 1;
  if (got.candidates.size() != order.size()) return wrong + 1;
  for (size_t i = 0; i < order.size(); ++i) {
    const Candidate& one = got.candidates[i];
    wrong += one.column == order[i] && one.logit == logit(order[i]) ? 0 : 1;
  }
  std::vector<float> weights(row.size());
  exp_shifted(row, max_of(row), request.scale, weights.data());
  uint64_t mass = 0;
  for (const float weight : weights) mass += units_of(weight);
  if (request.needs_mass == 0 || order.empty()) mass = 0;
  return wrong + (got.head.mass == mass ? 0 : 1);
}

std::vector<float> random_logits(size_t count, uint32_t seed, int style) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& logit : logits) {
    logit = normal(random);
    if (style == 1) logit = std::round(logit);  // ties, and zeros of both signs
    if (style == 2 && random() % 3 != 0) logit = -kInfinity;
  }
  return logits;
}

}  // namespace

Checks shortlist_checks() {
  constexpr int32_t kCapacity = 128;
  constexpr const char* kStyles[] = {"", " with ties", " with impossible ones"};
  std::vector<ShortlistRequest> requests;
  for (const int32_t count : {1, 2, 7, 60, 128}) {
    for (const float scale : {0.0f, 1.0f, 0.7f, 12.5f}) requests.push_back({count, scale > 0 ? 1 : 0, scale});
  }
  Checks checks;
  for (const int32_t columns : {1, 5, 32, 129, 513, 4099}) {
    if (kIsSlow && columns > 513) continue;
    for (int style = 0; style < 3; ++style) {
      const auto width = static_cast<size_t>(columns);
      const std::vector<float> logits =
          random_logits(requests.size() * width, static_cast<uint32_t>(columns + style), style);
      const std::vector<Answer> answers = ask(logits, columns, requests, kCapacity);
      double wrong = 0;
      for (size_t row = 0; row < requests.size(); ++row) {
        wrong += compare(answers[row], std::span(logits).subspan(row * width, width), requests[row]);
      }
      checks.push_back({"shortlists of " + std::to_string(columns) + " columns" + kStyles[style], wrong, 0});
    }
  }
  // All alike: the first columns. One candidate of room: more than that is never written.
  const std::vector<float> alike(700, -3.5f);
  checks.push_back(
      {"columns all alike", compare(ask(alike, 700, {{50, 1, 0.3f}}, 50)[0], alike, {50, 1, 0.3f}), 0});
  const Answer cut = ask(alike, 700, {{50, 0, 1.0f}}, 1)[0];
  checks.push_back({"more than there is room for", compare(cut, alike, {1, 0, 1.0f}), 0});
  // A row of which nothing is wanted is left alone.
  checks.push_back(
      expect_true("nothing wanted", ask(alike, 700, {{0, 0, 1.0f}}, 4)[0].head.count == 0x55555555));
  return checks;
}

Checks shortlist_invalid_checks() {
  constexpr int32_t kColumns = 600;
  const std::vector<float> good = random_logits(kColumns, 9, 0);
  Checks checks;
  const auto expect = [&](const char* name, std::vector<float> row, bool has_numbers, int32_t candidates) {
    for (const int32_t count : {1, 40}) {
      const Answer answer = ask(row, kColumns, {{count, 1, 1.0f}}, 40)[0];
      bool right = (answer.head.has_numbers != 0) == has_numbers;
      if (has_numbers) right = right && answer.head.count == std::min(count, candidates);
      checks.push_back(expect_true(name, right));
    }
  };
  const auto with = [&](size_t at, float value) {
    std::vector<float> row = good;
    row[at] = value;
    return row;
  };
  expect("finite", good, true, 40);
  expect("an impossible token", with(599, -kInfinity), true, 40);
  expect("NaN", with(577, std::numeric_limits<float>::quiet_NaN()), false, 0);
  expect("−NaN", with(0, -std::numeric_limits<float>::quiet_NaN()), false, 0);
  expect("+inf", with(3, kInfinity), false, 0);
  std::vector<float> nothing(kColumns, -kInfinity);
  expect("nothing finite", nothing, true, 0);
  nothing[444] = -1e30f;
  expect("one possible token", nothing, true, 1);

  const DeviceMemory memory = on_device(good);
  auto* logits = reinterpret_cast<float*>(memory.get());
  checks.push_back(expect_error("no columns", kernels::row_maxima(logits, 1, 0, 0, 1, logits, nullptr),
                                cudaErrorInvalidValue));
  checks.push_back(expect_error("no such rank", kernels::row_maxima(logits, 1, 5, 2, 2, logits, nullptr),
                                cudaErrorInvalidValue));
  checks.push_back(expect_error("no requests",
                                kernels::shortlist(logits, 1, 5, nullptr, nullptr, 1, 4, logits, nullptr),
                                cudaErrorInvalidValue));
  checks.push_back(expect_error(
      "no rows", kernels::shortlist(nullptr, 0, 5, nullptr, nullptr, 1, 4, nullptr, nullptr), cudaSuccess));
  return checks;
}

}  // namespace kraken::test
