#include "report.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

namespace kraken::test {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result + "\"";
}

// JSON knows no infinity.
std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return std::isfinite(value) ? text : "null";
}

constexpr const char* kEntry = "    {\"name\": ";

// Of an entry; 0 where it has no such number.
size_t count_in(const std::string& entry, const char* name) {
  const std::string key = std::string("\"") + name + "\": ";
  const size_t at = entry.find(key);
  return at == std::string::npos ? 0 : std::strtoull(entry.c_str() + at + key.size(), nullptr, 10);
}

}  // namespace

void Report::add(const std::string& group, const Checks& checks) {
  Group one{group, checks.size(), 0, 0, "", lap()};
  for (const Check& check : checks) {
    if (check.tolerance > 0) one.tolerance_used = std::max(one.tolerance_used, check.error / check.tolerance);
    if (check.passed()) continue;
    constexpr size_t kShown = 20;
    if (one.failed++ < kShown) {
      std::printf("  FAILED %s: %g, allowed %g\n", check.name.c_str(), check.error, check.tolerance);
    }
  }
  // A group without checks has shown nothing.
  if (checks.empty()) ++one.failed;
  std::printf("%-6s %-44s %6zu checks, at most %3.0f %% of a tolerance, %5.1f s\n",
              one.failed == 0 ? "ok" : "FAILED", group.c_str(), one.checks, 100 * one.tolerance_used,
              one.seconds);
  std::fflush(stdout);
  ++groups_run_;
  checks_ += one.checks;
  failures_ += one.failed;
  groups_.push_back(entry(one));
  save();
}

void Report::add_skipped(const std::string& group, const std::string& reason) {
  std::printf("%-6s %-44s %s\n", "skip", group.c_str(), reason.c_str());
  std::fflush(stdout);
  ++groups_skipped_;
  if (reason == kNoTime) no_time_.push_back(group);
  groups_.push_back(entry(Group{group, 0, 0, 0, reason, 0}));
  save();
}

void Report::add_figure(const std::string& name, double value, const std::string& unit) {
  std::printf("       %-60s %10.2f %s\n", name.c_str(), value, unit.c_str());
  std::fflush(stdout);
  figures_.push_back(entry(Figure{name, value, unit}));
  save();
}

std::string Report::entry(const Group& group) {
  std::string text = kEntry + quoted(group.name) + ", \"checks\": " + std::to_string(group.checks) +
                     ", \"failed\": " + std::to_string(group.failed) +
                     ", \"tolerance_used\": " + number(group.tolerance_used) +
                     ", \"seconds\": " + number(group.seconds);
  if (!group.skipped.empty()) text += ", \"skipped\": " + quoted(group.skipped);
  return text + "}";
}

std::string Report::entry(const Figure& figure) {
  return kEntry + quoted(figure.name) + ", \"value\": " + number(figure.value) +
         ", \"unit\": " + quoted(figure.unit) + "}";
}

void Report::resume() {
  std::ifstream file(json_);
  std::string line;
  bool of_figures = false;
  while (std::getline(file, line)) {
    of_figures = of_figures || line.rfind("  \"figures\"", 0) == 0;
    if (line.rfind(kEntry, 0) != 0) continue;
    if (line.back() == ',') line.pop_back();
    (of_figures ? figures_ : groups_).push_back(line);
    if (of_figures) continue;
    ++(line.find("\"skipped\": ") == std::string::npos ? groups_run_ : groups_skipped_);
    checks_ += count_in(line, "checks");
    failures_ += count_in(line, "failed");
  }
  if (!of_figures) throw std::runtime_error("there is nothing to go on with in " + json_);
}

double Report::lap() {
  const auto now = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(now - std::exchange(lap_, now)).count();
}

void Report::begin(const std::string& part) {
  running_ = part;
  save();
}

void Report::write_json() {
  running_.clear();
  save();
}

void Report::save() const {
  if (json_.empty()) return;
  const std::string unfinished = json_ + ".part";
  std::ofstream file(unfinished);
  file << "{\n  \"device\": " << quoted(device_) << ",\n  \"passed\": " << (passed() ? "true" : "false")
       << ",\n  \"running\": " << (running_.empty() ? "null" : quoted(running_)) << ",\n  \"checks\": [";
  const char* separator = "\n";
  for (const std::string& group : groups_) file << std::exchange(separator, ",\n") << group;
  file << "\n  ],\n  \"figures\": [";
  separator = "\n";
  for (const std::string& figure : figures_) file << std::exchange(separator, ",\n") << figure;
  file << "\n  ]\n}\n";
  file.close();
  if (!file || std::rename(unfinished.c_str(), json_.c_str()) != 0) {
    throw std::runtime_error("cannot write " + json_);
  }
}

void Report::print_summary() const {
  std::printf("\n%s: %zu groups of %zu checks run, %zu failed; %zu skipped; %zu figures\n",
              passed() ? "passed" : "FAILED", groups_run_, checks_, failures_, groups_skipped_,
              figures_.size());
  for (const std::string& group : no_time_) std::printf("  no time for: %s\n", group.c_str());
}

}  // namespace kraken::test
