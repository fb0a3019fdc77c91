#include "report.h"

#include <cstdio>
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
  failures_ += one.failed;
  groups_.push_back(std::move(one));
}

void Report::add_skipped(const std::string& group, const std::string& reason) {
  std::printf("%-6s %-44s %s\n", "skip", group.c_str(), reason.c_str());
  std::fflush(stdout);
  groups_.push_back({group, 0, 0, 0, reason, 0});
}

void Report::add_figure(const std::string& name, double value, const std::string& unit) {
  std::printf("       %-60s %10.2f %s\n", name.c_str(), value, unit.c_str());
  std::fflush(stdout);
  figures_.push_back({name, value, unit});
}

double Report::lap() {
  const auto now = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(now - std::exchange(lap_, now)).count();
}

void Report::begin(const std::string& part) {
  save(part);
}

void Report::write_json() {
  save("");
}

void Report::save(const std::string& running) const {
  if (json_.empty()) return;
  const std::string unfinished = json_ + ".part";
  std::ofstream file(unfinished);
  file << "{\n  \"device\": " << quoted(device_) << ",\n  \"passed\": " << (passed() ? "true" : "false")
       << ",\n  \"running\": " << (running.empty() ? "null" : quoted(running)) << ",\n  \"checks\": [";
  const char* separator = "\n";
  for (const Group& group : groups_) {
    file << separator << "    {\"name\": " << quoted(group.name) << ", \"checks\": " << group.checks
         << ", \"failed\": " << group.failed << ", \"tolerance_used\": " << number(group.tolerance_used)
         << ", \"seconds\": " << number(group.seconds);
    if (!group.skipped.empty()) file << ", \"skipped\": " << quoted(group.skipped);
    file << "}";
    separator = ",\n";
  }
  file << "\n  ],\n  \"figures\": [";
  separator = "\n";
  for (const Figure& figure : figures_) {
    file << separator << "    {\"name\": " << quoted(figure.name) << ", \"value\": " << number(figure.value)
         << ", \"unit\": " << quoted(figure.unit) << "}";
    separator = ",\n";
  }
  file << "\n  ]\n}\n";
  file.close();
  if (!file || std::rename(unfinished.c_str(), json_.c_str()) != 0) {
    throw std::runtime_error("cannot write " + json_);
  }
}

void Report::print_summary() const {
  size_t run = 0, skipped = 0, checks = 0;
  for (const Group& group : groups_) {
    checks += group.checks;
    ++(group.skipped.empty() ? run : skipped);
  }
  std::printf("\n%s: %zu groups of %zu checks run, %zu failed; %zu skipped; %zu figures\n",
              passed() ? "passed" : "FAILED", run, checks, failures_, skipped, figures_.size());
  for (const Group& group : groups_) {
    if (group.skipped == kNoTime) std::printf("  no time for: %s\n", group.name.c_str());
  }
}

}  // namespace kraken::test
