#include "communicators.h"

#include <exception>
#include <thread>

#include "communicator/make_communicator.h"
#include "ranks.h"

namespace kraken::test {

std::string table_of(kernels::Algorithm algorithm, int32_t blocks) {
  const auto line = [](kernels::Algorithm one, const std::string& of) {
    return std::string("* * * ") + kernels::name_of(one) + " " + of + "\n";
  };
  const std::string count = std::to_string(blocks);
  switch (algorithm) {
    case kernels::Algorithm::Folded:  // and what ends in no norm, which cannot be folded
      return line(algorithm, "*") + line(kernels::Algorithm::OneShot, blocks > 0 ? count : "8");
    case kernels::Algorithm::Nccl:
      return line(algorithm, "*");
    case kernels::Algorithm::Multimem:  // where it cannot run, obstacle() says so
      return line(algorithm, count) + line(kernels::Algorithm::TwoShot, count);
    default:
      return line(algorithm, count);
  }
}

std::string describe(const kernels::Choice& choice) {
  std::string text = kernels::name_of(choice.algorithm);
  if (choice.blocks > 0) text.append(", ").append(std::to_string(choice.blocks)).append(" blocks");
  return text;
}

std::string obstacle(kernels::Algorithm algorithm, const std::string& transport) {
  const auto says = [&](const char* what) { return transport.find(what) != std::string::npos; };
  if (algorithm == kernels::Algorithm::Multimem && !says("multicast")) {
    return "needs multicast memory, so sm_90 or newer, NVLink switches and a GPU for each rank";
  }
  if (algorithm == kernels::Algorithm::Nccl && !says("NCCL")) {
    return "needs NCCL (libnccl.so.2 on the loader's path) and a GPU for each rank";
  }
  return "";
}

std::unique_ptr<plugins::DeviceCommunicator> make_communicator(int rank, int ranks,
                                                               const CommunicatorOptions& options,
                                                               AllGather all_gather) {
  kraken_communicator_options made{};
  made.struct_size = sizeof made;
  made.rank = rank;
  made.ranks = ranks;
  made.transport = options.may_use_nccl ? KRAKEN_TRANSPORT_AUTO : KRAKEN_TRANSPORT_PEER;
  made.capacity = options.capacity;
  made.algorithms = options.algorithms.empty() ? nullptr : options.algorithms.c_str();
  made.timeout_nanoseconds = options.timeout_ns;
  made.stall_side_microseconds = options.stalls.side_microseconds;
  made.stall_main_microseconds = options.stalls.main_microseconds;
  made.context = &all_gather;
  made.all_gather = [](void* context, const void* mine, void* all, int64_t bytes) {
    return (*static_cast<AllGather*>(context))(mine, all, bytes);
  };
  return plugins::make_communicator(made);
}

int device_count() {
  static const int devices = usable_devices();
  return devices;
}

int device_of(int rank) {
  return rank % device_count();
}

CommunicatorGroup::CommunicatorGroup(int ranks, const CommunicatorOptions& options)
    : members_(static_cast<size_t>(ranks)), meeting_(ranks) {
  run([&](int rank) {
    Member& own = members_[static_cast<size_t>(rank)];
    own.communicator =
        make_communicator(rank, ranks, options, [&](const void* mine, void* all, int64_t bytes) {
          return meeting_.gather(rank, mine, all, bytes) ? 0 : 1;
        });
    // The default stream must wait for no rank.
    KRAKEN_CUDA(cudaStreamCreateWithFlags(&own.stream, cudaStreamNonBlocking));
  });
}

CommunicatorGroup::~CommunicatorGroup() {
  for (const Member& one : members_) cudaStreamDestroy(one.stream);
}

std::string CommunicatorGroup::failure() const {
  for (const Member& one : members_) {
    if (const std::string failure = one.communicator->failure(); !failure.empty()) return failure;
  }
  return "";
}

void CommunicatorGroup::run(const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  std::exception_ptr first;
  std::mutex mutex;
  for (int rank = 0; rank < ranks(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        KRAKEN_CUDA(cudaSetDevice(device_of(rank)));
        body(rank);
        KRAKEN_CUDA(cudaStreamSynchronize(stream(rank)));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();  // what the others throw is a consequence
        meeting_.leave();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace kraken::test
