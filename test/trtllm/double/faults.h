// What the double does wrong when KRAKEN_DOUBLE_FAULT asks for it: words separated by commas. RANK and
// ITERATION are numbers, MS milliseconds; `start` stands for the constructor and `idle` for half a second
// after it.
//
//   error@N                  the Nth request (from 1) is answered with an error
//   slow@MS                  every iteration takes so much longer
//   slow-start@MS            the constructor does
//   throw@RANK               the constructor throws
//   exit@RANK:WHEN           _exit(3); WHEN: start, idle or an iteration
//   abort@RANK:WHEN          says what NCCL says of a lost peer, and aborts
//   hang@RANK:WHEN           that rank never comes to the collective
//   stop@RANK:WHEN           stops itself, as SIGSTOP does
//   chatter                  prints to standard output as much as it likes
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tensorrt_llm::executor {

class Faults {
 public:
  explicit Faults(int rank);

  bool answers_with_error(uint64_t request) const;
  void in_constructor() const;
  void while_idle() const;
  void in_iteration(uint64_t iteration) const;
  bool has_idle() const;

 private:
  void at(const std::string& when) const;
  void chatter(const char* where) const;

  const int rank_;
  std::vector<std::string> words_;
};

}  // namespace tensorrt_llm::executor
