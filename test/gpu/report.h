// What a run on a GPU found: lines as it goes, and a JSON file that is whole at any time, so that a run that
// had to be stopped leaves what it found, and where it was. Another process may go on with the file; it needs
// no JSON reader for that, since each of its entries is a line.
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

  // Takes over what the file holds of a process before this one. Throws std::runtime_error when there is
  // none.
  void resume();
  // What is about to run.
  void begin(const std::string& part);
  // One line for a group of checks, one more for each that failed.
  void add(const std::string& group, const Checks& checks);
  void add_skipped(const std::string& group, const std::string& reason);
  void add_figure(const std::string& name, double value, const std::string& unit);

  bool passed() const { return failures_ == 0; }
  bool is_kept() const { return !json_.empty(); }
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
  // Entries of the file as they will be, and are again.
  static std::string entry(const Group& group);
  static std::string entry(const Figure& figure);

  void save() const;
  // Since the last call.
  double lap();

  std::string device_, json_, running_;
  std::vector<std::string> groups_, figures_;  // entries
  std::vector<std::string> no_time_;           // groups
  size_t groups_run_ = 0, groups_skipped_ = 0, checks_ = 0, failures_ = 0;
  std::chrono::steady_clock::time_point lap_ = std::chrono::steady_clock::now();
};

}  // namespace kraken::test
