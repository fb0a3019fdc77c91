#include "common/log.h"

#include <atomic>

namespace kraken::plugins {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};
thread_local std::string last_message;

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) {
  logger_finder = finder;
}

void report_error(const std::string& message) noexcept {
  try {
    last_message = "kraken: " + message;
    if (nvinfer1::ILoggerFinder* finder = logger_finder) {
      if (nvinfer1::ILogger* logger = finder->findLogger()) {
        logger->log(nvinfer1::ILogger::Severity::kERROR, last_message.c_str());
      }
    }
  } catch (...) {  // out of memory for a message: the caller still gets its error value
  }
}

const char* last_error() noexcept {
  return last_message.c_str();
}

}  // namespace kraken::plugins
