#include "communicator/overlapped_communicator.h"

#include <string>

#include "common/error.h"

namespace kraken::plugins {

OverlappedCommunicator::Slot& OverlappedCommunicator::slot_of(const Exchange& exchange, State expected,
                                                              const char* call) {
  Slot& slot = slots_[exchange.index % kSlots];
  const bool same = slot.state == State::Free || slot.index == exchange.index;
  if (slot.state == expected && same) return slot;
  std::string found = "it was not prepared";
  if (!same) {
    found = "exchange " + std::to_string(slot.index) + " of the same buffers has not been joined";
  } else if (slot.state == State::Prepared) {
    found = "it was prepared and not started";
  } else if (slot.state == State::Started) {
    found = "it is under way";
  }
  throw PluginError(std::string("cannot ") + call + " exchange " + std::to_string(exchange.index) + ": " +
                    found);
}

SendTarget OverlappedCommunicator::prepare(const Exchange& exchange) {
  if (exchange.bytes() > capacity_) {
    throw PluginError("exchange " + std::to_string(exchange.index) + " has " +
                      std::to_string(exchange.bytes()) + " bytes, the communicator was made for " +
                      std::to_string(capacity_));
  }
  Slot& slot = slot_of(exchange, State::Free, "start");
  const int32_t number = exchange.index % kSlots;
  slot = {State::Prepared, exchange.index, folded(exchange, number)};
  return {send_buffer(number), slot.folded};
}

void OverlappedCommunicator::start(const Exchange& exchange, cudaStream_t stream) {
  Slot& slot = slot_of(exchange, State::Prepared, "send");
  slot.state = State::Started;
  if (slot.folded != nullptr) return;
  const int32_t number = exchange.index % kSlots;
  side_.fork(number, stream);
  if (timer_) timer_->started(number, side_.stream());
  side_.stall_side();
  reduce(exchange, number, side_.stream());
  if (timer_) timer_->arrived(number, side_.stream());
  side_.mark(number);
}

JoinSource OverlappedCommunicator::join(const Exchange& exchange, cudaStream_t stream) {
  Slot& slot = slot_of(exchange, State::Started, "join");
  slot.state = State::Free;
  if (slot.folded != nullptr) return {nullptr, slot.folded};
  const int32_t number = exchange.index % kSlots;
  side_.stall_main(stream);
  if (timer_) timer_->joining(number, stream);
  side_.join(number, stream);
  if (timer_) timer_->joined(number, stream);
  return {receive_buffer(number), nullptr};
}

void OverlappedCommunicator::all_reduce(kernels::DType dtype, int64_t count, const void* in, void* out,
                                        cudaStream_t stream) {
  if (timer_) timer_->blocking_started(stream);
  reduce_now(dtype, count, in, out, stream);
  if (timer_) timer_->blocking_arrived(stream);
}

}  // namespace kraken::plugins
