// Where messages go: to TensorRT's logger where it gave us one, and to kraken_plugins_last_error() of this
// thread.
#pragma once

#include <NvInferRuntime.h>

#include <exception>
#include <string>

namespace kraken::plugins {

void set_logger_finder(nvinfer1::ILoggerFinder* finder);
void report_error(const std::string& message) noexcept;
const char* last_error() noexcept;

// Runs `body`; an exception becomes a message "who: what" and the value `failed`.
template <typename Result, typename Body>
Result guarded(const char* who, Result failed, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    report_error(std::string(who) + ": " + error.what());
  } catch (...) {
    report_error(std::string(who) + ": unknown exception");
  }
  return failed;
}

}  // namespace kraken::plugins
