// The few functions of NCCL that we call, declared here because NCCL is opened at run time and its headers
// are 0.3 GB to install. Types and numbers are those of nccl.h, unchanged since NCCL 2.14, the first whose
// communicators need not block.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace kraken::plugins::nccl {

constexpr int kSuccess = 0;      // ncclSuccess
constexpr int kRemoteError = 6;  // ncclRemoteError
constexpr int kInProgress = 7;   // ncclInProgress
constexpr int kSum = 0;          // ncclSum
constexpr int kFloat16 = 6, kFloat32 = 7, kBFloat16 = 9;
constexpr int kOldestVersion = 21400;  // major · 10000 + minor · 100 + patch

struct UniqueId {
  char internal[128];
};
using Comm = struct OpaqueComm*;

// As of 2.14; `size` and `version` tell a newer NCCL that the fields it added since are not there.
struct Config {
  size_t size = sizeof(Config);
  unsigned int magic = 0xcafebeef;
  unsigned int version = kOldestVersion;
  int blocking = 0;
};

using GetVersion = int(int* version);
using GetUniqueId = int(UniqueId* id);
using CommInitRankConfig = int(Comm* comm, int ranks, UniqueId id, int rank, Config* config);
using CommDestroy = int(Comm comm);
using CommAbort = int(Comm comm);
using CommGetAsyncError = int(Comm comm, int* error);
using GetErrorString = const char*(int error);
using AllReduce = int(const void* send, void* receive, size_t count, int type, int op, Comm comm,
                      cudaStream_t stream);

}  // namespace kraken::plugins::nccl
