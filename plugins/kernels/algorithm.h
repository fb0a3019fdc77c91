// Which way an exchange goes, by size, ranks and hardware: a table, apart from the code that executes it. The
// first rule that fits wins; a rule whose algorithm the hardware cannot run is passed over; where none fits,
// NCCL runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kraken::kernels {

// Folded: join_norm_peers reads the send buffers itself. The others but Nccl: all_reduce.h.
enum class Algorithm { Folded, OneShot, TwoShot, Multimem, Nccl };

const char* name_of(Algorithm algorithm);

// What an exchange is like.
struct Exchange {
  int64_t bytes = 0;
  int32_t ranks = 1;
  int32_t sm = 0;  // compute capability × 10: 80, 90, 100
  bool has_peer_access = false;
  bool has_multicast = false;
  bool joined_by_norm = false;  // it ends in a JoinNorm, so it may be folded
};

struct Choice {
  Algorithm algorithm = Algorithm::Nccl;
  int32_t blocks = 0;  // 0 for Folded and Nccl
  bool operator==(const Choice& other) const {
    return algorithm == other.algorithm && blocks == other.blocks;
  }
};

struct Rule {
  int32_t ranks = 0;      // 0: any
  int32_t sm = 0;         // 0: any; else this one and newer
  int64_t max_bytes = 0;  // up to and including; INT64_MAX: any
  Choice choice;
};

// One time measured of one algorithm.
struct Measurement {
  Exchange exchange;
  Choice choice;
  double microseconds = 0;
};

class AlgorithmTable {
 public:
  // What is assumed without measurements.
  static AlgorithmTable built_in();
  // Lines "ranks sm max_bytes algorithm blocks", "*" for any, "#" begins a comment. Throws
  // std::invalid_argument: source, line, what was expected and what was found.
  static AlgorithmTable parse(const std::string& text, const std::string& source);
  // The same from a file; std::invalid_argument also when it cannot be read.
  static AlgorithmTable read(const std::string& path);
  // The fastest for each size measured, up to halfway (geometrically) to the next; folded as long as that is
  // the fastest of the exchanges joined by a norm; then the built-in rules for ranks and architectures not
  // measured.
  static AlgorithmTable from_measurements(const std::vector<Measurement>& measurements);

  Choice choose(const Exchange& exchange) const;
  const std::vector<Rule>& rules() const { return rules_; }
  // As parse reads it.
  std::string to_text() const;

 private:
  std::vector<Rule> rules_;
};

}  // namespace kraken::kernels
