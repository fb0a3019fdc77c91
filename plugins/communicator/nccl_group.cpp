#include "communicator/nccl_group.h"

#include <dlfcn.h>

#include <string>
#include <system_error>
#include <thread>

#include "common/error.h"

namespace kraken::plugins {
namespace {

// Opened once and kept: NCCL has threads of its own, which an unloaded library would leave without code.
struct Library {
  int version = 0;
  std::string problem;
  nccl::GetUniqueId* get_unique_id = nullptr;
  nccl::CommInitRankConfig* comm_init_rank = nullptr;
  nccl::CommDestroy* comm_destroy = nullptr;
  nccl::CommAbort* comm_abort = nullptr;
  nccl::CommGetAsyncError* comm_get_async_error = nullptr;
  nccl::GetErrorString* get_error_string = nullptr;
  nccl::AllReduce* all_reduce = nullptr;

  Library() {
    void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      problem = "libnccl.so.2 was not found: install NCCL, or name its folder in LD_LIBRARY_PATH";
      return;
    }
    const auto load = [&](auto*& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      if (function == nullptr) problem = std::string("libnccl.so.2 has no ") + name;
    };
    nccl::GetVersion* get_version = nullptr;
    load(get_version, "ncclGetVersion");
    if (get_version == nullptr) return;
    if (get_version(&version) != nccl::kSuccess) {
      problem = "NCCL does not tell its version";
      return;
    }
    if (version < nccl::kOldestVersion) {
      problem = "NCCL 2.14 or newer is needed, got version number " + std::to_string(version);
      return;
    }
    load(get_unique_id, "ncclGetUniqueId");
    load(comm_init_rank, "ncclCommInitRankConfig");
    load(comm_destroy, "ncclCommDestroy");
    load(comm_abort, "ncclCommAbort");
    load(comm_get_async_error, "ncclCommGetAsyncError");
    load(get_error_string, "ncclGetErrorString");
    load(all_reduce, "ncclAllReduce");
  }
};

const Library& library() {
  static const Library loaded;
  return loaded;
}

void check(int result, const char* what) {
  if (result == nccl::kSuccess) return;
  throw PluginError(std::string("NCCL ") + what + " failed: " + library().get_error_string(result));
}

int type_number(kernels::DType dtype) {
  switch (dtype) {
    case kernels::DType::Float16:
      return nccl::kFloat16;
    case kernels::DType::BFloat16:
      return nccl::kBFloat16;
    case kernels::DType::Float32:
      break;
  }
  return nccl::kFloat32;
}

}  // namespace

std::string NcclGroup::unavailable() {
  return library().problem;
}

std::string NcclGroup::version() {
  return std::to_string(library().version / 10000) + "." + std::to_string(library().version % 10000 / 100);
}

NcclGroup::NcclGroup(const Rendezvous& rendezvous, std::chrono::nanoseconds timeout) : timeout_(timeout) {
  if (!library().problem.empty()) throw PluginError(library().problem);
  struct Record {
    nccl::UniqueId id;
    int result;
  } mine{};
  if (rendezvous.rank == 0) mine.result = library().get_unique_id(&mine.id);
  const Record first = rendezvous.gather(mine)[0];
  check(first.result, "set-up");
  nccl::Config config;
  const int result = library().comm_init_rank(&comm_, rendezvous.ranks, first.id, rendezvous.rank, &config);
  try {
    finish(result, "set-up", kSetUpShare * timeout_, rendezvous.is_lost);
  } catch (...) {
    abort(-1);
    throw;
  }
}

NcclGroup::~NcclGroup() {
  // A group that has lost a member would wait for it for ever.
  if (!failure().empty()) abort(-1);
  if (!aborted_) library().comm_destroy(comm_);
}

int NcclGroup::progress() const {
  const std::lock_guard lock(mutex_);
  if (aborted_) return nccl::kRemoteError;
  int error = nccl::kSuccess;
  const int result = library().comm_get_async_error(comm_, &error);
  return result != nccl::kSuccess ? result : error;
}

void NcclGroup::finish(int result, const char* what, std::chrono::nanoseconds bound,
                       const std::function<bool()>& is_lost) const {
  const auto end = std::chrono::steady_clock::now() + bound;
  for (; result == nccl::kInProgress; result = progress()) {
    if (is_lost()) throw PluginError(std::string("NCCL ") + what + " was given up: a rank was lost");
    if (std::chrono::steady_clock::now() > end) {
      throw PluginError(std::string("NCCL ") + what + " took longer than " +
                        std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(bound).count()) +
                        " ms: a rank did not come");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  check(result, what);
}

void NcclGroup::all_reduce(kernels::DType dtype, int64_t count, const void* in, void* out,
                           cudaStream_t stream) const {
  int result = nccl::kRemoteError;
  {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      result = library().all_reduce(in, out, static_cast<size_t>(count), type_number(dtype), nccl::kSum,
                                    comm_, stream);
    }
  }
  // Until then it may not be on the stream yet.
  finish(result, "all-reduce", timeout_, [] { return false; });  // abort() ends it
}

void NcclGroup::abort(int32_t lost_rank) noexcept {
  const std::lock_guard lock(mutex_);
  if (aborted_) return;
  aborted_ = true;
  lost_rank_ = lost_rank;
  if (comm_ == nullptr) return;
  // It ends what is in flight at once, then waits until no graph that captured NCCL's kernels is left: not
  // here, where those must be told that have the graphs.
  try {
    aborting_ = std::jthread([comm = comm_] { library().comm_abort(comm); });
  } catch (const std::system_error&) {
    library().comm_abort(comm_);
  }
}

std::string NcclGroup::failure() const {
  {
    const std::lock_guard lock(mutex_);
    if (lost_rank_ >= 0) return "rank " + std::to_string(lost_rank_) + " was lost";
  }
  const int error = progress();
  if (error == nccl::kSuccess || error == nccl::kInProgress) return "";
  return std::string("NCCL lost the group: ") + library().get_error_string(error);
}

}  // namespace kraken::plugins
