// The table as text: what a tuning run writes and a user may edit.
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "algorithm.h"
#include "peer_buffers.h"

namespace kraken::kernels {
namespace {

constexpr int64_t kAny = -1;
constexpr std::pair<Algorithm, const char*> kNames[] = {{Algorithm::Folded, "folded"},
                                                        {Algorithm::OneShot, "one-shot"},
                                                        {Algorithm::TwoShot, "two-shot"},
                                                        {Algorithm::Multimem, "multimem"},
                                                        {Algorithm::Nccl, "nccl"}};

bool has_blocks(Algorithm algorithm) {
  return algorithm != Algorithm::Folded && algorithm != Algorithm::Nccl;
}

// A field of a line and what to say about it.
struct Field {
  const std::string& source;
  int line;
  const char* name;
  const std::string& text;

  [[noreturn]] void refuse(const std::string& expected) const {
    throw std::invalid_argument(source + ", line " + std::to_string(line) + ": " + name + " must be " +
                                expected + ", got \"" + text + "\"");
  }
  // "*" is kAny.
  int64_t number(int64_t min, int64_t max) const {
    if (text == "*") return kAny;
    const std::string expected =
        "* or a whole number from " + std::to_string(min) + " to " + std::to_string(max);
    if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos) {
      refuse(expected);
    }
    const int64_t value = std::stoll(text);
    if (value < min || value > max) refuse(expected);
    return value;
  }
};

Algorithm algorithm_named(const Field& field) {
  std::string known;
  for (const auto& [algorithm, name] : kNames) {
    if (field.text == name) return algorithm;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  field.refuse("one of " + known);
}

std::optional<Rule> parse_line(const std::string& source, int line, const std::string& text) {
  std::istringstream stream(text.substr(0, text.find('#')));
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  if (words.empty()) return std::nullopt;
  constexpr size_t kFields = 5;
  if (words.size() != kFields) {
    throw std::invalid_argument(source + ", line " + std::to_string(line) +
                                ": expected \"ranks sm max_bytes algorithm blocks\", got " +
                                std::to_string(words.size()) + " words");
  }
  const auto field = [&](const char* name, size_t i) { return Field{source, line, name, words[i]}; };
  constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max(), kMaxBytes = int64_t{1} << 50;
  Rule rule;
  const int64_t ranks = field("ranks", 0).number(1, kMaxInt);
  const int64_t sm = field("sm", 1).number(50, 999);
  const int64_t bytes = field("max_bytes", 2).number(1, kMaxBytes);
  rule.ranks = ranks == kAny ? 0 : static_cast<int32_t>(ranks);
  rule.sm = sm == kAny ? 0 : static_cast<int32_t>(sm);
  rule.max_bytes = bytes == kAny ? std::numeric_limits<int64_t>::max() : bytes;
  rule.choice.algorithm = algorithm_named(field("algorithm", 3));
  const Field blocks = field("blocks", 4);
  if (has_blocks(rule.choice.algorithm)) {
    const int64_t count = blocks.number(1, kMaxBlocks);
    if (count == kAny) blocks.refuse("a whole number from 1 to " + std::to_string(kMaxBlocks));
    rule.choice.blocks = static_cast<int32_t>(count);
  } else if (blocks.text != "*") {
    blocks.refuse(std::string("* for ") + name_of(rule.choice.algorithm));
  }
  return rule;
}

}  // namespace

const char* name_of(Algorithm algorithm) {
  for (const auto& [one, name] : kNames) {
    if (one == algorithm) return name;
  }
  return "unknown";
}

AlgorithmTable AlgorithmTable::parse(const std::string& text, const std::string& source) {
  AlgorithmTable table;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    if (const auto rule = parse_line(source, ++number, line)) table.rules_.push_back(*rule);
  }
  if (table.rules_.empty()) throw std::invalid_argument(source + " holds no rule");
  return table;
}

AlgorithmTable AlgorithmTable::read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) throw std::invalid_argument("cannot read " + path);
  return parse(text.str(), path);
}

std::string AlgorithmTable::to_text() const {
  const auto or_any = [](int64_t value, int64_t any) {
    return value == any ? std::string("*") : std::to_string(value);
  };
  std::string text = "# ranks sm max_bytes algorithm blocks\n";
  for (const Rule& rule : rules_) {
    text += or_any(rule.ranks, 0) + " " + or_any(rule.sm, 0) + " " +
            or_any(rule.max_bytes, std::numeric_limits<int64_t>::max()) + " " +
            name_of(rule.choice.algorithm) + " " + or_any(rule.choice.blocks, 0) + "\n";
  }
  return text;
}

}  // namespace kraken::kernels
