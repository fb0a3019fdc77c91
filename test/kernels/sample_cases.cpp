// Sampling, against a plain reference: sort, filter, add up in float64. A drawn token may differ from the
// reference's only where the random number falls within rounding of the edge between two tokens, which the
// reference knows.
#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "cases.h"
#include "sample.h"
#include "sample_reference.h"
#include "values.h"

namespace kraken::test {
namespace {

using kernels::SampleRow;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
class DeviceValues {
 public:
  explicit DeviceValues(const std::vector<T>& values)
      : count_(values.size()), memory_(device_memory(values.size() * sizeof(T))) {
    KRAKEN_CUDA(cudaMemcpy(memory_.get(), values.data(), count_ * sizeof(T), cudaMemcpyDefault));
  }
  T* data() const { return reinterpret_cast<T*>(memory_.get()); }
  std::vector<T> download() const {
    std::vector<T> values(count_);
    KRAKEN_CUDA(cudaMemcpy(values.data(), memory_.get(), count_ * sizeof(T), cudaMemcpyDefault));
    return values;
  }

 private:
  size_t count_;
  DeviceMemory memory_;
};

struct Sampled {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
};

Sampled sample(const std::vector<float>& logits, int32_t vocab, const std::vector<SampleRow>& rows) {
  const auto batch = static_cast<int32_t>(rows.size());
  const DeviceValues<float> device_logits(logits);
  const DeviceValues<SampleRow> device_rows(rows);
  const DeviceValues<int32_t> ids(std::vector<int32_t>(rows.size(), -7));
  const DeviceValues<float> logprobs(std::vector<float>(rows.size(), -7));
  KRAKEN_CUDA(kernels::sample(device_logits.data(), batch, vocab, device_rows.data(), ids.data(),
                              logprobs.data(), nullptr));
  return {ids.download(), logprobs.download()};
}

std::vector<float> random_logits(int64_t count, uint32_t seed, bool has_ties) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<size_t>(count));
  for (float& logit : logits) logit = has_ties ? std::round(normal(random) * 2) / 2 : normal(random);
  return logits;
}

SampleRow row_of(float temperature, int32_t top_k, float top_p, float min_p, uint64_t seed) {
  return {temperature, top_k, top_p, min_p, seed, seed % 5};
}

// Rows that combine the filters in every way, one batch a vocabulary.
void check_against_reference(Checks& checks, int32_t vocab, bool has_ties) {
  std::vector<SampleRow> rows;
  uint64_t seed = 1000;
  for (const float temperature : {0.0f, 0.6f, 1.7f}) {
    for (const int32_t top_k : {0, 1, 7, 60}) {
      for (const float top_p : {1.0f, 0.5f, 0.97f, 1e-6f}) {
        for (const float min_p : {0.0f, 0.05f})
          rows.push_back(row_of(temperature, top_k, top_p, min_p, ++seed));
      }
    }
  }
  const auto logits =
      random_logits(static_cast<int64_t>(rows.size()) * vocab, static_cast<uint32_t>(vocab), has_ties);
  const Sampled sampled = sample(logits, vocab, rows);
  double wrong = 0, near_an_edge = 0, logprob_error = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<float> row(logits.begin() + static_cast<int64_t>(i) * vocab,
                                 logits.begin() + static_cast<int64_t>(i + 1) * vocab);
    const SampleReference want = sample_reference(row, rows[i]);
    if (sampled.ids[i] != want.id) ++(want.is_near_an_edge ? near_an_edge : wrong);
    const double logprob = log_probability(row, sampled.ids[i]);
    logprob_error = std::max(logprob_error, std::abs(static_cast<double>(sampled.logprobs[i]) - logprob));
  }
  const std::string name = "V=" + std::to_string(vocab) + (has_ties ? " with ties" : "");
  checks.push_back({"sample " + name, wrong, 0});
  checks.push_back({"sample near an edge " + name, near_an_edge, 2});
  checks.push_back({"logprob " + name, logprob_error, 2e-5});
}

}  // namespace

Checks sample_checks() {
  Checks checks;
  for (const int32_t vocab : {1, 5, 32, 513, 4099}) {
    if (kIsSlow && vocab < 513) continue;
    check_against_reference(checks, vocab, false);
    check_against_reference(checks, vocab, true);
  }
  return checks;
}

// Frequencies: with thousands of seeds, each token comes as often as its probability says (chi-square).
Checks sample_distribution_checks() {
  constexpr int32_t kVocab = 40, kDraws = kIsSlow ? 200 : 1000;
  const std::vector<float> row = random_logits(kVocab, 3, true);
  Checks checks;
  for (const SampleRow& filters : {row_of(1.0f, 0, 1.0f, 0.0f, 0), row_of(0.8f, 12, 0.9f, 0.02f, 0)}) {
    std::vector<float> logits;
    std::vector<SampleRow> rows;
    for (int draw = 0; draw < kDraws; ++draw) {
      logits.insert(logits.end(), row.begin(), row.end());
      rows.push_back(filters);
      rows.back().seed = static_cast<uint64_t>(draw) * 7919;
    }
    const Sampled sampled = sample(logits, kVocab, rows);
    const std::vector<double> expected = sample_reference(row, filters).probabilities;
    std::vector<double> counts(kVocab, 0.0);
    for (const int32_t id : sampled.ids) ++counts[static_cast<size_t>(id)];
    double chi_square = 0, freedom = -1, impossible = 0;
    for (size_t id = 0; id < counts.size(); ++id) {
      const double mean = expected[id] * kDraws;
      if (mean > 0) {
        chi_square += (counts[id] - mean) * (counts[id] - mean) / mean;
        ++freedom;
      } else {
        impossible += counts[id];
      }
    }
    checks.push_back({"chi-square of draws", chi_square, freedom + 6 * std::sqrt(2 * freedom)});
    checks.push_back({"tokens that were filtered out", impossible, 0});
  }
  return checks;
}

Checks sample_invalid_checks() {
  Checks checks;
  constexpr int32_t kVocab = 600;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> good = random_logits(kVocab, 9, false);
  struct Case {
    const char* name;
    std::vector<float> row;
    bool is_valid;
  };
  std::vector<Case> cases;
  const auto with = [&](const char* name, size_t at, float value, bool is_valid) {
    cases.push_back({name, good, is_valid});
    cases.back().row[at] = value;
  };
  with("finite", 0, 0.0f, true);
  with("one impossible token", 599, -kInfinity, true);
  with("NaN", 577, nan, false);
  with("+inf", 3, kInfinity, false);
  cases.push_back({"nothing finite", std::vector<float>(kVocab, -kInfinity), false});
  cases.push_back({"one possible token", std::vector<float>(kVocab, -kInfinity), true});
  cases.back().row[444] = -1e30f;
  std::vector<float> logits;
  for (const Case& one : cases) logits.insert(logits.end(), one.row.begin(), one.row.end());
  for (const float temperature : {0.0f, 1.0f}) {
    const Sampled sampled =
        sample(logits, kVocab, std::vector<SampleRow>(cases.size(), row_of(temperature, 0, 0.9f, 0, 5)));
    for (size_t i = 0; i < cases.size(); ++i) {
      const bool is_refused = sampled.ids[i] == -1 && std::isnan(sampled.logprobs[i]);
      checks.push_back(expect_true(cases[i].name, is_refused != cases[i].is_valid));
    }
    checks.push_back(expect_true("the only token", sampled.ids.back() == 444));
    checks.push_back(
        expect_close("its logprob", {static_cast<double>(sampled.logprobs.back())}, {0.0}, 1e-6));
  }
  const DeviceValues<float> device_logits(logits);
  const DeviceValues<int32_t> ids(std::vector<int32_t>(cases.size(), -7));
  KRAKEN_CUDA(
      kernels::argmax(device_logits.data(), static_cast<int32_t>(cases.size()), kVocab, ids.data(), nullptr));
  const std::vector<int32_t> got = ids.download();
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto best = std::max_element(cases[i].row.begin(), cases[i].row.end()) - cases[i].row.begin();
    checks.push_back(expect_true(std::string("argmax, ") + cases[i].name,
                                 got[i] == (cases[i].is_valid ? static_cast<int32_t>(best) : -1)));
  }
  checks.push_back(expect_error("no vocabulary",
                                kernels::argmax(device_logits.data(), 1, 0, ids.data(), nullptr),
                                cudaErrorInvalidValue));
  checks.push_back(expect_error("no rows", kernels::argmax(nullptr, 0, 5, nullptr, nullptr), cudaSuccess));
  return checks;
}

}  // namespace kraken::test
