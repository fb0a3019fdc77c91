// What a run on a GPU found: lines as it goes, and a JSON file at its end.
#pragma once

#include <string>
#include <vector>

#include "check.h"

namespace kraken::test {

class Report {
 public:
  explicit Report(std::string device) : device_(std::move(device)) {}

  // One line for a group of checks, one more for each that failed.
  void add(const std::string& group, const Checks& checks);
  void add_skipped(const std::string& group, const std::string& reason);
  void add_figure(const std::string& name, double value, const std::string& unit);

  bool passed() const { return failures_ == 0; }
  // Throws std::runtime_error when it cannot be written.
  void write_json(const std::string& path) const;

 private:
  struct Group {
    std::string name;
    size_t checks = 0, failed = 0;
    double tolerance_used = 0;
    std::string skipped;
  };
  struct Figure {
    std::string name;
    double value;
    std::string unit;
  };

  std::string device_;
  std::vector<Group> groups_;
  std::vector<Figure> figures_;
  size_t failures_ = 0;
};

}  // namespace kraken::test
