// How tests end or stop a rank at a certain point: KRAKEN_STAND_IN_ENDS="PHASE SIGNAL FILE", of which the
// file must exist by then (or never, where a rank shall live).
#pragma once

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <string>

namespace kraken::test {

inline void come_to(const char* phase) {
  const char* text = std::getenv("KRAKEN_STAND_IN_ENDS");
  if (text == nullptr) return;
  std::istringstream words(text);
  std::string where, file;
  int number = 0;
  if (!(words >> where >> number >> file) || where != phase || access(file.c_str(), F_OK) != 0) return;
  raise(number);
}

}  // namespace kraken::test
