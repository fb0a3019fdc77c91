#include "communicator/multicast_memory.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "communicator/identity.h"

namespace kraken::plugins {
namespace {

// Why a rank could not do its part; empty when it could.
struct Outcome {
  char problem[160] = {};

  void set(const std::string& text) { std::strncpy(problem, text.c_str(), sizeof(problem) - 1); }
};

struct Ability {
  Outcome outcome;
  MachineIdentity machine;
  uint64_t process = 0;
  CUuuid device{};
  uint64_t granularity = 0;
  DescriptorChannel::Address address;
};

// What a rank made, for the ranks of its process to share.
struct Made {
  Outcome outcome;
  const std::shared_ptr<PhysicalMemory>*multicast = nullptr, *memory = nullptr;
};

void require(bool condition, const char* message) {
  if (!condition) throw PluginError(message);
}

bool has(CUdevice device, CUdevice_attribute attribute) {
  int value = 0;
  check_driver(driver_api().device_get_attribute(&value, attribute, device), "asking for multicast");
  return value != 0;
}

// Runs `step`; what it throws becomes the outcome.
template <typename Step>
void attempt(Outcome& outcome, Step step) {
  try {
    step();
  } catch (const PluginError& error) {
    outcome.set(error.what());
  }
}

// The first rank that could not, if there is one.
template <typename Record>
std::string problem_of(const std::vector<Record>& records) {
  for (size_t rank = 0; rank < records.size(); ++rank) {
    const char* problem = records[rank].outcome.problem;
    if (problem[0] != '\0') return "rank " + std::to_string(rank) + ": " + problem;
  }
  return "";
}

}  // namespace

class MulticastMemory::SetUp {
 public:
  SetUp(const Rendezvous& rendezvous, int64_t bytes)
      : rendezvous_(rendezvous), bytes_(static_cast<size_t>(bytes)) {
    result_.reset(new MulticastMemory());
  }

  std::unique_ptr<MulticastMemory> run(bool wanted, std::string& problem) {
    const bool done =
        agree(wanted, problem) && create(problem) && add_devices(problem) && bind(problem) && map(problem);
    return done ? std::move(result_) : nullptr;
  }

 private:
  bool is_local(int32_t peer) const { return abilities_[peer].process == process_identity(); }

  // Who can, and how much memory that takes.
  bool agree(bool wanted, std::string& problem) {
    Ability mine;
    mine.machine = MachineIdentity::current();
    mine.process = process_identity();
    attempt(mine.outcome, [&] {
      require(wanted, "no rule of the algorithm table asks for it");
      const DriverApi& driver = driver_api();
      if (!driver.problem.empty()) throw PluginError(driver.problem);
      check_cuda(cudaFree(nullptr), "starting CUDA");  // makes the context that mappings live in
      check_cuda(cudaGetDevice(&ordinal_), "asking for the current device");
      check_driver(driver.device_get(&device_, ordinal_), "asking for the device");
      require(has(device_, CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED), "the device has no multicast");
      require(has(device_, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED),
              "the device's memory has no descriptors");
      check_driver(driver.device_get_uuid(&mine.device, device_), "asking for the device's identity");
      mine.granularity = granularity();
      channel_ = std::make_unique<DescriptorChannel>();
      mine.address = channel_->address();
    });
    abilities_ = rendezvous_.gather(mine);
    problem = problem_of(abilities_);
    if (!problem.empty()) return false;
    for (const Ability& one : abilities_) {
      if (one.machine != mine.machine) problem = "ranks are on several machines";
      alignment_ = std::max<size_t>(alignment_, one.granularity);
      const auto same = [&](const Ability& other) {
        return std::memcmp(&other.device, &one.device, sizeof(one.device)) == 0;
      };
      if (std::count_if(abilities_.begin(), abilities_.end(), same) != 1) problem = "ranks share a device";
    }
    bytes_ = (bytes_ + alignment_ - 1) / alignment_ * alignment_;
    return problem.empty();
  }

  // The smallest there is: the recommended one may be half a gigabyte.
  uint64_t granularity() const {
    const CUmulticastObjectProp object = properties();
    CUmemAllocationProp memory{};
    memory.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    memory.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    memory.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    memory.location.id = device_;
    size_t of_object = 0, of_memory = 0;
    check_driver(
        driver_api().multicast_get_granularity(&of_object, &object, CU_MULTICAST_GRANULARITY_MINIMUM),
        "asking for multicast's granularity");
    check_driver(
        driver_api().mem_get_allocation_granularity(&of_memory, &memory, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
        "asking for the memory's granularity");
    return std::max(of_object, of_memory);
  }

  CUmulticastObjectProp properties() const {
    CUmulticastObjectProp object{};
    object.numDevices = static_cast<unsigned int>(rendezvous_.ranks);
    object.size = bytes_;
    object.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    return object;
  }

  // Rank 0 makes the object; everyone its memory.
  bool create(std::string& problem) {
    Made mine;
    attempt(mine.outcome, [&] {
      if (rendezvous_.rank == 0) {
        multicast_ = PhysicalMemory::multicast(properties());
        send_to_processes(*multicast_);
      }
      memory_ = PhysicalMemory::of_device(device_, bytes_);
    });
    mine.multicast = &multicast_;
    mine.memory = &memory_;
    made_ = rendezvous_.gather(mine);
    problem = problem_of(made_);
    return problem.empty();
  }

  // Of all ranks before any of them binds memory.
  bool add_devices(std::string& problem) {
    return together(problem, [&] {
      if (rendezvous_.rank != 0) multicast_ = is_local(0) ? *made_[0].multicast : received(0);
      check_driver(driver_api().multicast_add_device(multicast_->handle(), device_),
                   "adding a device to a multicast object");
    });
  }

  bool bind(std::string& problem) {
    return together(problem, [&] {
      result_->binding_.emplace(multicast_, device_, memory_, bytes_);
      send_to_processes(*memory_);
    });
  }

  bool map(std::string& problem) {
    return together(problem, [&] {
      result_->multicast_mapping_.emplace(multicast_, bytes_, alignment_, ordinal_);
      for (int32_t peer = 0; peer < rendezvous_.ranks; ++peer) {
        result_->mappings_.emplace_back(is_local(peer) ? *made_[peer].memory : received(peer), bytes_,
                                        alignment_, ordinal_);
      }
      check_cuda(cudaMemset(result_->base(rendezvous_.rank), 0, bytes_), "clearing exchange buffers");
      check_cuda(cudaDeviceSynchronize(), "clearing exchange buffers");
    });
  }

  std::shared_ptr<PhysicalMemory> received(int32_t peer) {
    return PhysicalMemory::import(channel_->receive(peer));
  }

  void send_to_processes(const PhysicalMemory& memory) const {
    for (int32_t peer = 0; peer < rendezvous_.ranks; ++peer) {
      if (is_local(peer)) continue;
      channel_->send(abilities_[peer].address, rendezvous_.rank, memory.descriptor());
    }
  }

  bool together(std::string& problem, const std::function<void()>& step) {
    struct Record {
      Outcome outcome;
    } mine;
    attempt(mine.outcome, step);
    problem = problem_of(rendezvous_.gather(mine));
    return problem.empty();
  }

  const Rendezvous& rendezvous_;
  size_t bytes_, alignment_ = 1;
  int32_t ordinal_ = 0;
  CUdevice device_ = 0;
  std::unique_ptr<DescriptorChannel> channel_;
  std::vector<Ability> abilities_;
  std::shared_ptr<PhysicalMemory> multicast_, memory_;
  std::vector<Made> made_;
  std::unique_ptr<MulticastMemory> result_;
};

std::unique_ptr<MulticastMemory> MulticastMemory::make(const Rendezvous& rendezvous, int64_t bytes,
                                                       bool wanted, std::string& problem) {
  if (rendezvous.ranks == 1) {
    problem = "there is one rank";
    return nullptr;
  }
  return SetUp(rendezvous, bytes).run(wanted, problem);
}

}  // namespace kraken::plugins
