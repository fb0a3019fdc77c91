// A backend that this build does not have: the same interface, every use answered with the reason.
#pragma once

#include <string>

#include "backend/backend.h"
#include "base/error.h"

namespace kraken {

class UnavailableBackend : public Backend {
 public:
  UnavailableBackend(const char* name, std::string reason) : name_(name), reason_(std::move(reason)) {}
  const char* name() const override { return name_; }
  Capability capability() const override { return {false, reason_, {}}; }
  int kv_block_tokens() const override { refuse(); }
  size_t kv_block_bytes(const Graph&, DType) const override { refuse(); }
  std::unique_ptr<RankModel> compile(const Graph&, const std::string&, Communicator&,
                                     const CompileOptions&) const override {
    refuse();
  }

 private:
  [[noreturn]] void refuse() const {
    throw Error("ERR_BACKEND_UNAVAILABLE", std::string("backend ") + name_ + " is not available: " + reason_);
  }
  const char* name_;
  std::string reason_;
};

}  // namespace kraken
