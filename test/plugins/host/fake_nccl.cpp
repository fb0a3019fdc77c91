// A libnccl.so.2 for tests: its sums are work on fake_cuda's streams, which the test program gives it.
// Nothing is done when a call returns, but only after a few looks at it, as of a communicator that does not
// block.
#include "fake_nccl.h"

#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fake_cuda.h"

using kraken::fake_nccl::Fault;

namespace {

constexpr int kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kInProgress = 7;
constexpr int kLooks = 3;  // until what was begun is done
std::atomic<Fault> fault = Fault::None;
std::atomic<int> aborted = 0, alive = 0;
std::atomic<bool> aborts_held = false;

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
  int looks_left = 0;
};
struct Config {
  size_t size;
  unsigned int magic, version;
  int blocking;
};

std::mutex registry_mutex;
std::map<int, std::shared_ptr<Shared>> registry;
int next_id = 1;

float element(const void* data, int type, size_t i) {
  if (type == 7) return static_cast<const float*>(data)[i];
  return std::bit_cast<float>(uint32_t{static_cast<const uint16_t*>(data)[i]} << 16);
}
void store(void* data, int type, size_t i, float value) {
  if (type == 7) {
    static_cast<float*>(data)[i] = value;
  } else {
    const auto bits = std::bit_cast<uint32_t>(value);
    static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
}

}  // namespace

#define NCCL extern "C" __attribute__((visibility("default"))) int

NCCL ncclGetVersion(int* version) {
  *version = 23203;
  return kSuccess;
}
NCCL ncclGetUniqueId(UniqueId* id) {
  const std::lock_guard lock(registry_mutex);
  std::memcpy(id->internal, &next_id, sizeof(next_id));
  registry[next_id++] = std::make_shared<Shared>();
  return kSuccess;
}
NCCL ncclCommInitRankConfig(Comm** comm, int ranks, UniqueId id, int rank, Config* config) {
  if (config->magic != 0xcafebeef || config->blocking != 0) return kInvalidArgument;
  if (fault == Fault::RefusesSetUp) return kSystemError;
  const std::lock_guard lock(registry_mutex);
  int number = 0;
  std::memcpy(&number, id.internal, sizeof(number));
  registry.at(number)->ranks = ranks;
  *comm = new Comm{registry.at(number), rank, 0, kLooks};
  ++alive;
  return kInProgress;
}
NCCL ncclCommDestroy(Comm* comm) {
  --alive;
  delete comm;
  return kSuccess;
}
NCCL ncclCommAbort(Comm* comm) {
  ++aborted;
  while (aborts_held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  --alive;
  delete comm;
  return kSuccess;
}
NCCL ncclCommGetAsyncError(Comm* comm, int* error) {
  *error = kSuccess;
  if (comm->looks_left > 0) {
    *error = kInProgress;
    if (fault != Fault::Hangs) --comm->looks_left;
  } else if (fault == Fault::FailsLater) {
    *error = kSystemError;
  }
  return kSuccess;
}
extern "C" __attribute__((visibility("default"))) void fake_nccl_set(Fault next) {
  fault = next;
  aborted = 0;
}
extern "C" __attribute__((visibility("default"))) void fake_nccl_hold_aborts(bool held) {
  aborts_held = held;
}
NCCL fake_nccl_aborted() {
  return aborted;
}
NCCL fake_nccl_alive() {
  return alive;
}
extern "C" __attribute__((visibility("default"))) const char* ncclGetErrorString(int) {
  return "fake error";
}
NCCL ncclAllReduce(const void* send, void* receive, size_t count, int type, int op, Comm* comm,
                   cudaStream_t stream) {
  if ((type != 7 && type != 9) || op != 0) return kInvalidArgument;  // float32 or bfloat16, sum
  const std::shared_ptr<Shared> shared = comm->shared;
  kraken::fake_cuda::enqueue(stream, [=] {
    const uint64_t number = comm->next++;
    return [=, came = false]() mutable {
      const std::lock_guard lock(shared->mutex);
      Sum& sum = shared->sums[number];
      if (!came) {
        std::vector<float>& part = sum.parts[comm->rank];
        for (size_t i = 0; i < count; ++i) part.push_back(element(send, type, i));
      }
      came = true;
      if (static_cast<int>(sum.parts.size()) < shared->ranks) return false;
      for (size_t i = 0; i < count; ++i) {
        double total = 0;
        for (const auto& [rank, part] : sum.parts) total += part[i];
        store(receive, type, i, static_cast<float>(total));
      }
      return true;
    };
  });
  comm->looks_left = kLooks;
  return kInProgress;
}
