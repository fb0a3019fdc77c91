// The one exception that crosses from native code to JavaScript, with a stable code (lib/errors.ts lists
// them).
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace kraken {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// A broken invariant of ours. Never reached by bad input: JavaScript validates, C++ asserts.
[[noreturn]] inline void internal_error(const std::string& what) {
  throw Error("ERR_INTERNAL", what);
}

#define KRAKEN_STRINGIFY_(x) #x
#define KRAKEN_STRINGIFY(x) KRAKEN_STRINGIFY_(x)
#define KRAKEN_CHECK(condition)                                                                             \
  do {                                                                                                      \
    if (!(condition)) {                                                                                     \
      ::kraken::internal_error("check failed: " #condition " at " __FILE__ ":" KRAKEN_STRINGIFY(__LINE__)); \
    }                                                                                                       \
  } while (false)

}  // namespace kraken
