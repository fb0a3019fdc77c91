// A libcuda.so.1 for tests, strict about the order of calls. Physical memory is a file of memory, so
// processes share it as they would a GPU's; a multicast object is one too, in which devices and bindings are
// listed. Memory can be touched only when it is mapped and access was given.
#include <cuda.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>

#define FAKE extern "C" __attribute__((visibility("default")))

namespace {

constexpr size_t kGranularity = 64 << 10;
constexpr const char* kMulticastName = "kraken-multicast";

// What a multicast object's file holds.
struct Team {
  std::atomic<unsigned int> wanted, added, bound;
  std::atomic<int> process[8], file[8];  // of each memory that was bound
};

struct Physical {
  int file = -1;
  size_t bytes = 0;
  Team* team = nullptr;  // of a multicast object
};

struct State {
  std::mutex mutex;
  bool multicast = std::getenv("KRAKEN_FAKE_MULTICAST") != nullptr;
  std::string failing;
  int calls_left = 0;
  bool failed = false;
  std::set<Physical*> alive;
  std::map<CUdeviceptr, std::pair<size_t, Physical*>> ranges;  // reserved; of what is mapped, if anything
  int bindings = 0;
};
State& state() {
  static State it;
  return it;
}

bool must_fail(const char* name) {
  State& s = state();
  if (s.failing != name || s.calls_left-- > 0) return false;
  s.failing.clear();
  return s.failed = true;
}
#define ENTER()                                       \
  const std::lock_guard lock(state().mutex);          \
  if (must_fail(__func__)) return CUDA_ERROR_UNKNOWN; \
  static_assert(true)

Physical* physical(CUmemGenericAllocationHandle handle) {
  auto* one = reinterpret_cast<Physical*>(handle);
  return state().alive.contains(one) ? one : nullptr;
}

CUresult add(Physical* one, CUmemGenericAllocationHandle* handle) {
  state().alive.insert(one);
  *handle = reinterpret_cast<CUmemGenericAllocationHandle>(one);
  return CUDA_SUCCESS;
}

Physical* make(const char* name, size_t bytes) {
  auto* one = new Physical;
  one->file = memfd_create(name, MFD_CLOEXEC);
  one->bytes = bytes;
  if (ftruncate(one->file, static_cast<off_t>(bytes)) != 0) std::terminate();
  return one;
}

Team* team_of(int file) {
  void* memory = mmap(nullptr, sizeof(Team), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Team*>(memory);
}

// Tests whose kernels really use multicast addresses have functions of these names.
void tell_program(CUdeviceptr base, size_t bytes, const Team* team) {
  using Mapped = void(void* base, size_t bytes, void** replicas, int count);
  auto* mapped = reinterpret_cast<Mapped*>(dlsym(RTLD_DEFAULT, "kraken_multicast_mapped"));
  if (mapped == nullptr) return;
  void* replicas[8] = {};
  const unsigned int count = team->bound;
  for (unsigned int i = 0; i < count; ++i) {
    const std::string path =
        "/proc/" + std::to_string(team->process[i]) + "/fd/" + std::to_string(team->file[i]);
    const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
    replicas[i] = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (replicas[i] == MAP_FAILED) std::terminate();
    close(file);
  }
  mapped(reinterpret_cast<void*>(base), bytes, replicas, static_cast<int>(count));
}

}  // namespace

FAKE void fake_driver_set_multicast(bool supported) {
  state().multicast = supported;
}
FAKE void fake_driver_fail(const char* name, int calls) {
  state().failing = name;
  state().calls_left = calls;
  state().failed = false;
}
FAKE bool fake_driver_has_failed() {
  return state().failed;
}
FAKE int fake_driver_live_objects() {
  return static_cast<int>(state().alive.size() + state().ranges.size()) + state().bindings;
}

FAKE CUresult cuInit(unsigned int) {
  return CUDA_SUCCESS;
}
FAKE CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = error == CUDA_ERROR_UNKNOWN ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR_INVALID_VALUE";
  return CUDA_SUCCESS;
}
FAKE CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  ENTER();
  *device = ordinal;
  return CUDA_SUCCESS;
}
#undef cuDeviceGetUuid
FAKE CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  ENTER();
  std::memset(uuid, 0, sizeof *uuid);
  uuid->bytes[0] = static_cast<char>(1 + device);
  return CUDA_SUCCESS;
}
FAKE CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
  ENTER();
  *value = attribute == CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED && !state().multicast ? 0 : 1;
  return CUDA_SUCCESS;
}
FAKE CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp*,
                                            CUmemAllocationGranularity_flags) {
  ENTER();
  *granularity = kGranularity / 4;
  return CUDA_SUCCESS;
}
FAKE CUresult cuMulticastGetGranularity(size_t* granularity, const CUmulticastObjectProp*,
                                        CUmulticastGranularity_flags) {
  ENTER();
  *granularity = kGranularity;
  return CUDA_SUCCESS;
}

FAKE CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes,
                          const CUmemAllocationProp* properties, unsigned long long) {
  ENTER();
  if (bytes == 0 || bytes % kGranularity != 0) return CUDA_ERROR_INVALID_VALUE;
  if (properties->requestedHandleTypes != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return add(make("kraken-memory", bytes), handle);
}
FAKE CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  ENTER();
  Physical* one = physical(handle);
  if (one == nullptr) return CUDA_ERROR_INVALID_VALUE;
  state().alive.erase(one);
  if (one->team != nullptr) munmap(one->team, sizeof(Team));
  close(one->file);
  delete one;
  return CUDA_SUCCESS;
}
FAKE CUresult cuMemExportToShareableHandle(void* to, CUmemGenericAllocationHandle handle,
                                           CUmemAllocationHandleType, unsigned long long) {
  ENTER();
  const Physical* one = physical(handle);
  if (one == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *static_cast<int*>(to) = fcntl(one->file, F_DUPFD_CLOEXEC, 0);
  return CUDA_SUCCESS;
}
FAKE CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* from,
                                             CUmemAllocationHandleType) {
  ENTER();
  auto* one = new Physical;
  one->file = fcntl(static_cast<int>(reinterpret_cast<intptr_t>(from)), F_DUPFD_CLOEXEC, 0);
  one->bytes = static_cast<size_t>(lseek(one->file, 0, SEEK_END));
  char name[256] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(one->file);
  if (readlink(link.c_str(), name, sizeof name - 1) > 0 && std::strstr(name, kMulticastName) != nullptr) {
    one->team = team_of(one->file);
  }
  return add(one, handle);
}

FAKE CUresult cuMulticastCreate(CUmemGenericAllocationHandle* handle,
                                const CUmulticastObjectProp* properties) {
  ENTER();
  if (properties->numDevices < 2 || properties->numDevices > 8 || properties->size % kGranularity != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Physical* one = make(kMulticastName, properties->size);
  one->team = team_of(one->file);
  one->team->wanted = properties->numDevices;
  return add(one, handle);
}
FAKE CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle handle, CUdevice) {
  ENTER();
  const Physical* one = physical(handle);
  if (one == nullptr || one->team == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return ++one->team->added <= one->team->wanted ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FAKE CUresult cuMulticastBindMem(CUmemGenericAllocationHandle handle, size_t offset,
                                 CUmemGenericAllocationHandle memory, size_t memory_offset, size_t bytes,
                                 unsigned long long) {
  ENTER();
  const Physical *one = physical(handle), *bound = physical(memory);
  if (one == nullptr || one->team == nullptr || bound == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (one->team->added != one->team->wanted) return CUDA_ERROR_INVALID_VALUE;  // devices come first
  if (offset % kGranularity != 0 || memory_offset % kGranularity != 0 || bytes > bound->bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const unsigned int at = one->team->bound++;
  one->team->process[at] = getpid();
  one->team->file[at] = bound->file;
  ++state().bindings;
  return CUDA_SUCCESS;
}
FAKE CUresult cuMulticastUnbind(CUmemGenericAllocationHandle handle, CUdevice, size_t, size_t) {
  ENTER();
  if (physical(handle) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  --state().bindings;
  return CUDA_SUCCESS;
}

FAKE CUresult cuMemAddressReserve(CUdeviceptr* address, size_t bytes, size_t, CUdeviceptr,
                                  unsigned long long) {
  ENTER();
  void* reserved = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = reinterpret_cast<CUdeviceptr>(reserved);
  state().ranges[*address] = {bytes, nullptr};
  return CUDA_SUCCESS;
}
FAKE CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  ENTER();
  const auto range = state().ranges.find(address);
  if (range == state().ranges.end() || range->second.second != nullptr) return CUDA_ERROR_INVALID_VALUE;
  munmap(reinterpret_cast<void*>(address), bytes);
  state().ranges.erase(range);
  return CUDA_SUCCESS;
}
FAKE CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                       unsigned long long) {
  ENTER();
  Physical* one = physical(handle);
  const auto range = state().ranges.find(address);
  if (one == nullptr || range == state().ranges.end() || range->second.second != nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (bytes > range->second.first || bytes > one->bytes || offset != 0) return CUDA_ERROR_INVALID_VALUE;
  if (one->team != nullptr) {
    if (one->team->bound != one->team->wanted) return CUDA_ERROR_INVALID_VALUE;
    tell_program(address, bytes, one->team);
  } else if (mmap(reinterpret_cast<void*>(address), bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, one->file, 0) ==
             MAP_FAILED) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  range->second.second = one;
  return CUDA_SUCCESS;
}
FAKE CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  ENTER();
  const auto range = state().ranges.find(address);
  if (range == state().ranges.end() || range->second.second == nullptr) return CUDA_ERROR_INVALID_VALUE;
  using Unmapped = void(void* base);
  if (auto* told = reinterpret_cast<Unmapped*>(dlsym(RTLD_DEFAULT, "kraken_multicast_unmapped"))) {
    told(reinterpret_cast<void*>(address));
  }
  mmap(reinterpret_cast<void*>(address), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  range->second.second = nullptr;
  return CUDA_SUCCESS;
}
FAKE CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc* access, size_t) {
  ENTER();
  const auto range = state().ranges.find(address);
  if (range == state().ranges.end() || range->second.second == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) return CUDA_ERROR_INVALID_VALUE;
  // A multicast address is not for the host to touch: what stands in for the kernels translates it.
  if (range->second.second->team == nullptr) {
    mprotect(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE);
  }
  return CUDA_SUCCESS;
}
