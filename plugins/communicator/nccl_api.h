// The few functions of NCCL that we call, declared here because NCCL is opened at run time and its headers
// are 0.3 GB to install. Types and numbers are those of nccl.h, unchanged since NCCL 2.10 (bfloat16).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace kraken::plugins::nccl {

constexpr int kSuccess = 0;     // ncclSuccess
constexpr int kInProgress = 7;  // ncclInProgress
constexpr int kSum = 0;         // ncclSum
constexpr int kFloat16 = 6, kFloat32 = 7, kBFloat16 = 9;
constexpr int kOldestVersion = 21000;  // major · 10000 + minor · 100 + patch

struct UniqueId {
  char internal[128];
};
using Comm = struct OpaqueComm*;

using GetVersion = int(int* version);
using GetUniqueId = int(UniqueId* id);
using CommInitRank = int(Comm* comm, int ranks, UniqueId id, int rank);
using CommDestroy = int(Comm comm);
using CommAbort = int(Comm comm);
using CommGetAsyncError = int(Comm comm, int* error);
using GetErrorString = const char*(int error);
using AllReduce = int(const void* send, void* receive, size_t count, int type, int op, Comm comm,
                      cudaStream_t stream);

}  // namespace kraken::plugins::nccl
