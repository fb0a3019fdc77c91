#include "communicator/nccl_group.h"

#include <dlfcn.h>

#include "common/error.h"

namespace kraken::plugins {
namespace {

// Opened once and kept: NCCL has threads of its own, which an unloaded library would leave without code.
struct Library {
  int version = 0;
  std::string problem;
  nccl::GetUniqueId* get_unique_id = nullptr;
  nccl::CommInitRank* comm_init_rank = nullptr;
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
    load(get_unique_id, "ncclGetUniqueId");
    load(comm_init_rank, "ncclCommInitRank");
    load(comm_destroy, "ncclCommDestroy");
    load(comm_abort, "ncclCommAbort");
    load(comm_get_async_error, "ncclCommGetAsyncError");
    load(get_error_string, "ncclGetErrorString");
    load(all_reduce, "ncclAllReduce");
    if (problem.empty() && get_version(&version) != nccl::kSuccess)
      problem = "NCCL does not tell its version";
    if (problem.empty() && version < nccl::kOldestVersion) {
      problem = "NCCL 2.10 or newer is needed, got version number " + std::to_string(version);
    }
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

NcclGroup::NcclGroup(const Rendezvous& rendezvous) {
  if (!library().problem.empty()) throw PluginError(library().problem);
  struct Record {
    nccl::UniqueId id;
    int result;
  } mine{};
  if (rendezvous.rank == 0) mine.result = library().get_unique_id(&mine.id);
  const Record first = rendezvous.gather(mine)[0];
  check(first.result, "set-up");
  check(library().comm_init_rank(&comm_, rendezvous.ranks, first.id, rendezvous.rank), "set-up");
}

NcclGroup::~NcclGroup() {
  if (comm_ == nullptr) return;
  // A group that has lost a member would wait for it for ever.
  if (failure().empty()) {
    library().comm_destroy(comm_);
  } else {
    library().comm_abort(comm_);
  }
}

void NcclGroup::all_reduce(kernels::DType dtype, int64_t count, const void* in, void* out,
                           cudaStream_t stream) const {
  check(library().all_reduce(in, out, static_cast<size_t>(count), type_number(dtype), nccl::kSum, comm_,
                             stream),
        "all-reduce");
}

std::string NcclGroup::failure() const {
  int error = nccl::kSuccess;
  const int result = library().comm_get_async_error(comm_, &error);
  if (result != nccl::kSuccess) error = result;
  if (error == nccl::kSuccess || error == nccl::kInProgress) return "";
  return std::string("NCCL lost the group: ") + library().get_error_string(error);
}

}  // namespace kraken::plugins
