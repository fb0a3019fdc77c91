// A libnccl.so.2 for tests: its sums are work on fake_cuda's streams, which the test program gives it.
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "fake_cuda.h"

namespace {

struct UniqueId {
  char internal[128];
};

// What the members of a communicator share: their parts of each sum, by the sum's number.
struct Sum {
  std::map<int, std::vector<float>> parts;
};
struct Shared {
  std::mutex mutex;
  int ranks = 0;
  std::map<uint64_t, Sum> sums;
};
struct Comm {
  std::shared_ptr<Shared> shared;
  int rank = 0;
  uint64_t next = 0;
};

std::mutex registry_mutex;
std::map<int, std::shared_ptr<Shared>> registry;
int next_id = 1;

}  // namespace

#define NCCL extern "C" __attribute__((visibility("default"))) int

NCCL ncclGetVersion(int* version) {
  *version = 23203;
  return 0;
}
NCCL ncclGetUniqueId(UniqueId* id) {
  const std::lock_guard lock(registry_mutex);
  std::memcpy(id->internal, &next_id, sizeof(next_id));
  registry[next_id++] = std::make_shared<Shared>();
  return 0;
}
NCCL ncclCommInitRank(Comm** comm, int ranks, UniqueId id, int rank) {
  const std::lock_guard lock(registry_mutex);
  int number = 0;
  std::memcpy(&number, id.internal, sizeof(number));
  registry.at(number)->ranks = ranks;
  *comm = new Comm{registry.at(number), rank, 0};
  return 0;
}
NCCL ncclCommDestroy(Comm* comm) {
  delete comm;
  return 0;
}
NCCL ncclCommAbort(Comm* comm) {
  delete comm;
  return 0;
}
NCCL ncclCommGetAsyncError(Comm*, int* error) {
  *error = 0;
  return 0;
}
extern "C" __attribute__((visibility("default"))) const char* ncclGetErrorString(int) {
  return "fake error";
}
NCCL ncclAllReduce(const void* send, void* receive, size_t count, int type, int op, Comm* comm,
                   cudaStream_t stream) {
  if (type != 7 || op != 0) return 4;  // float32, sum
  const std::shared_ptr<Shared> shared = comm->shared;
  kraken::fake_cuda::enqueue(stream, [=] {
    const uint64_t number = comm->next++;
    return [=, came = false]() mutable {
      const std::lock_guard lock(shared->mutex);
      Sum& sum = shared->sums[number];
      const float* in = static_cast<const float*>(send);
      if (!came) sum.parts[comm->rank].assign(in, in + count);
      came = true;
      if (static_cast<int>(sum.parts.size()) < shared->ranks) return false;
      for (size_t i = 0; i < count; ++i) {
        double total = 0;
        for (const auto& [rank, part] : sum.parts) total += part[i];
        static_cast<float*>(receive)[i] = static_cast<float>(total);
      }
      return true;
    };
  });
  return 0;
}
