#include "communicator/peer_communicator.h"

#include <algorithm>

#include "common/error.h"
#include "kernels/all_reduce.h"

namespace kraken::plugins {
namespace {

constexpr int32_t kMainFlags = 0, kSideFlags = 1, kFlagSets = 2;
constexpr int32_t kBlockingPair = kSlots, kPairs = kSlots + 1;
constexpr int32_t kFirstWithMultimem = 90;  // sm_90

int32_t compute_capability() {
  int device = 0, major = 0, minor = 0;
  check_cuda(cudaGetDevice(&device), "asking for the current device");
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
             "asking for the architecture");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
             "asking for the architecture");
  return major * 10 + minor;
}

kernels::AllReduceAlgorithm kernel_of(kernels::Algorithm algorithm) {
  switch (algorithm) {
    case kernels::Algorithm::OneShot:
      return kernels::AllReduceAlgorithm::OneShot;
    case kernels::Algorithm::Multimem:
      return kernels::AllReduceAlgorithm::Multimem;
    default:
      return kernels::AllReduceAlgorithm::TwoShot;
  }
}

// Two-shot moves the least where NCCL was chosen and is not there.
constexpr kernels::Choice kWithoutNccl = {kernels::Algorithm::TwoShot, 16};

}  // namespace

std::unique_ptr<PeerMemory> PeerCommunicator::make_memory(const Rendezvous& rendezvous, int64_t capacity,
                                                          const kernels::AlgorithmTable& table) {
  const std::vector<kernels::Rule>& rules = table.rules();
  const bool wants_multicast = std::any_of(rules.begin(), rules.end(), [](const kernels::Rule& rule) {
    return rule.choice.algorithm == kernels::Algorithm::Multimem;
  });
  return std::make_unique<PeerMemory>(rendezvous, PeerMemory::Layout{capacity, kPairs, kFlagSets},
                                      wants_multicast && compute_capability() >= kFirstWithMultimem);
}

PeerCommunicator::PeerCommunicator(std::unique_ptr<PeerMemory> memory, std::unique_ptr<NcclGroup> nccl,
                                   kernels::AlgorithmTable table, int64_t capacity,
                                   uint64_t timeout_nanoseconds, Stalls stalls)
    : OverlappedCommunicator(capacity, stalls),
      memory_(std::move(memory)),
      nccl_(std::move(nccl)),
      table_(std::move(table)),
      sm_(compute_capability()) {
  const auto buffers = [&](int32_t pair, int32_t flags) {
    kernels::PeerBuffers made = memory_->buffers(pair, flags);
    made.error = error_.device_address();
    if (timeout_nanoseconds != 0) made.timeout_ns = timeout_nanoseconds;
    return made;
  };
  for (int32_t slot = 0; slot < kSlots; ++slot) {
    side_[slot] = buffers(slot, kSideFlags);
    main_[slot] = buffers(slot, kMainFlags);
  }
  blocking_ = buffers(kBlockingPair, kMainFlags);
}

kernels::Choice PeerCommunicator::choose(int64_t bytes, bool joined_by_norm) const {
  kernels::Exchange exchange;
  exchange.bytes = bytes;
  exchange.ranks = blocking_.ranks;
  exchange.sm = sm_;
  exchange.has_peer_access = true;
  exchange.has_multicast = blocking_.multicast_send != nullptr;
  exchange.joined_by_norm = joined_by_norm;
  const kernels::Choice choice = table_.choose(exchange);
  return choice.algorithm == kernels::Algorithm::Nccl && !nccl_ ? kWithoutNccl : choice;
}

const kernels::PeerBuffers* PeerCommunicator::folded(const Exchange& exchange, int32_t slot) const {
  const kernels::Choice choice = choose(exchange.bytes(), exchange.joined_by_norm);
  return choice.algorithm == kernels::Algorithm::Folded ? &main_[slot] : nullptr;
}

void* PeerCommunicator::send_buffer(int32_t slot) const {
  return side_[slot].send[side_[slot].rank];
}

const void* PeerCommunicator::receive_buffer(int32_t slot) const {
  return side_[slot].receive[side_[slot].rank];
}

void PeerCommunicator::reduce(const Exchange& exchange, int32_t slot, cudaStream_t stream) {
  const kernels::Choice choice = choose(exchange.bytes(), exchange.joined_by_norm);
  if (choice.algorithm == kernels::Algorithm::Nccl) {
    const int32_t rank = side_[slot].rank;
    nccl_->all_reduce(exchange.dtype, exchange.count, side_[slot].send[rank], side_[slot].receive[rank],
                      stream);
    return;
  }
  kernels::AllReduceSpec spec;
  spec.algorithm = kernel_of(choice.algorithm);
  spec.dtype = exchange.dtype;
  spec.count = exchange.count;
  spec.blocks = choice.blocks;
  // Where a norm joins, nobody writes this send buffer before all have read it (overlapped_communicator.h).
  spec.frees_send = !exchange.joined_by_norm;
  check_cuda(kernels::all_reduce(spec, side_[slot], stream), "the all-reduce of an exchange");
}

void PeerCommunicator::time_exchanges() {
  OverlappedCommunicator::time_exchanges();
  for (kernels::PeerBuffers& joined_by_kernel : main_) joined_by_kernel.times = device_times();
}

void PeerCommunicator::reduce_now(kernels::DType dtype, int64_t count, const void* in, void* out,
                                  cudaStream_t stream) {
  const int64_t element = kernels::size_of(dtype);
  const kernels::Choice choice = choose(count * element, false);
  if (choice.algorithm == kernels::Algorithm::Nccl) return nccl_->all_reduce(dtype, count, in, out, stream);
  // What is larger than a buffer goes in pieces, one after another.
  const int64_t piece = blocking_.capacity / element;
  for (int64_t done = 0; done < count; done += piece) {
    kernels::AllReduceSpec spec;
    spec.algorithm = kernel_of(choice.algorithm);
    spec.dtype = dtype;
    spec.count = std::min(piece, count - done);
    spec.blocks = choice.blocks;
    spec.input = static_cast<const char*>(in) + done * element;
    spec.output = static_cast<char*>(out) + done * element;
    check_cuda(kernels::all_reduce(spec, blocking_, stream), "the all-reduce");
  }
}

void PeerCommunicator::abort(int32_t lost_rank) noexcept {
  const uint32_t lost = 1u + static_cast<uint32_t>(lost_rank);
  error_.set(lost);
  for (const int32_t flags : {kMainFlags, kSideFlags}) memory_->abort(flags, lost);
  if (nccl_) nccl_->abort(lost_rank);
}

std::string PeerCommunicator::failure() const {
  if (const uint32_t lost = error_.value(); lost != 0) {
    return "rank " + std::to_string(lost - 1) + " did not come to a collective in time";
  }
  return nccl_ ? nccl_->failure() : "";
}

std::string PeerCommunicator::transport() const {
  const std::string memory = memory_->multicast_problem().empty() ? "multicast peer memory" : "peer memory";
  return nccl_ ? memory + " and NCCL " + NcclGroup::version() : memory;
}

}  // namespace kraken::plugins
