// What a run on a GPU found: lines as it goes, and a JSON file that is whole at any time, so that a run that
// had to be stopped leaves what it found, and where it was.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "check.h"

namespace kraken::test {

class Report {
 public:
  static constexpr const char* kNoTime = "left out: the time was up";

  // json: where it is kept; "": nowhere.
  Report(std::string device, std::string json) : device_(std::move(device)), json_(std::move(json)) {}

  // What is about to run.
  void begin(const std::string& part);
  // One line for a group of checks, one more for each that failed.
  void add(const std::string& group, const Checks& checks);
  void add_skipped(const std::string& group, const std::string& reason);
  void add_figure(const std::string& name, double value, const std::string& unit);

  bool passed() const { return failures_ == 0; }
  // Throws std::runtime_error when it cannot be written.
  void write_json();
  // How many of what, and all that was left out for want of time.
  void print_summary() const;

 private:
  struct Group {
    std::string name;
    size_t checks = 0, failed = 0;
    double tolerance_used = 0;
    std::string skipped;
    double seconds = 0;
  };
  struct Figure {
    std::string name;
    double value;
    std::string unit;
  };

  void save(const std::string& running) const;
  // Since the last call.
  double lap();

  std::string device_, json_;
  std::vector<Group> groups_;
  std::vector<Figure> figures_;
  size_t failures_ = 0;
  std::chrono::steady_clock::time_point lap_ = std::chrono::steady_clock::now();
};

}  // namespace kraken::test
