// A rank's membership in an NCCL communicator.
#pragma once

#include <memory>
#include <string>

#include "communicator/nccl_api.h"
#include "communicator/rendezvous.h"
#include "kernels/types.h"

namespace kraken::plugins {

class NcclGroup {
 public:
  // Why NCCL cannot be used here; empty when it can. Opens it.
  static std::string unavailable();

  // Throws PluginError. All ranks at once.
  explicit NcclGroup(const Rendezvous& rendezvous);
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  void all_reduce(kernels::DType dtype, int64_t count, const void* in, void* out, cudaStream_t stream) const;
  std::string failure() const;
  static std::string version();

 private:
  nccl::Comm comm_ = nullptr;
};

}  // namespace kraken::plugins
