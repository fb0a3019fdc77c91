// A rank's membership in an NCCL communicator. No call into NCCL blocks: it returns at once and we look again
// until it is done or a bound is over, since a rank that never comes would keep the others for ever.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "communicator/nccl_api.h"
#include "communicator/rendezvous.h"
#include "kernels/types.h"

namespace kraken::plugins {

class NcclGroup {
 public:
  // Why NCCL cannot be used here; empty when it can. Opens it.
  static std::string unavailable();

  // Throws PluginError, when a rank does not come too: the set-up may take kSetUpShare times `timeout`, as
  // devices and network must be found first, and ends at once when the group is lost. All ranks at once.
  NcclGroup(const Rendezvous& rendezvous, std::chrono::nanoseconds timeout);
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  void all_reduce(kernels::DType dtype, int64_t count, const void* in, void* out, cudaStream_t stream) const;
  // From any thread: ends what is in flight, and does not wait for it. −1: nobody knows who was lost.
  void abort(int32_t lost_rank) noexcept;
  std::string failure() const;
  static std::string version();

 private:
  static constexpr int kSetUpShare = 6;
  // Waits for what was begun, `result` being what the call gave.
  void finish(int result, const char* what, std::chrono::nanoseconds bound,
              const std::function<bool()>& is_lost) const;
  int progress() const;

  std::chrono::nanoseconds timeout_;
  mutable std::mutex mutex_;  // abort() comes from elsewhere
  nccl::Comm comm_ = nullptr;
  bool aborted_ = false;
  int32_t lost_rank_ = -1;
  std::jthread aborting_;  // joined before all else goes
};

}  // namespace kraken::plugins
