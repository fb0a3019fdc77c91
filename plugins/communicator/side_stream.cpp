#include "communicator/side_stream.h"

#include <chrono>
#include <thread>

#include "common/error.h"

namespace kraken::plugins {
namespace {

void CUDART_CB sleep_for(void* microseconds) {
  std::this_thread::sleep_for(std::chrono::microseconds(reinterpret_cast<intptr_t>(microseconds)));
}

void stall(cudaStream_t stream, int32_t microseconds) {
  if (microseconds <= 0) return;
  void* argument = reinterpret_cast<void*>(static_cast<intptr_t>(microseconds));
  check_cuda(cudaLaunchHostFunc(stream, sleep_for, argument), "stalling a stream");
}

}  // namespace

SideStream::SideStream(Stalls stalls) : stalls_(stalls) {
  try {
    int least = 0, greatest = 0;
    check_cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for stream priorities");
    // Above the main stream: a sum that has arrived late keeps everyone waiting, a product only its own rank.
    check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest),
               "creating the side stream");
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      check_cuda(cudaEventCreateWithFlags(&forked_[slot], cudaEventDisableTiming), "creating an event");
      check_cuda(cudaEventCreateWithFlags(&done_[slot], cudaEventDisableTiming), "creating an event");
    }
  } catch (...) {
    release();
    throw;
  }
}

SideStream::~SideStream() {
  release();
}

void SideStream::release() {
  for (const auto& events : {forked_, done_}) {
    for (const cudaEvent_t event : events) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void SideStream::fork(int32_t slot, cudaStream_t main) {
  check_cuda(cudaEventRecord(forked_[slot], main), "starting an exchange");
  check_cuda(cudaStreamWaitEvent(stream_, forked_[slot], 0), "starting an exchange");
}

void SideStream::stall_side() const {
  stall(stream_, stalls_.side_microseconds);
}

void SideStream::mark(int32_t slot) {
  check_cuda(cudaEventRecord(done_[slot], stream_), "sending an exchange");
}

void SideStream::stall_main(cudaStream_t main) const {
  stall(main, stalls_.main_microseconds);
}

void SideStream::join(int32_t slot, cudaStream_t main) {
  check_cuda(cudaStreamWaitEvent(main, done_[slot], 0), "joining an exchange");
}

}  // namespace kraken::plugins
