#include "multicast.h"
#include "shim_ptx.h"

namespace kraken::test {

struct Multicast::Memory {
  std::vector<char> addresses;  // never touched
  char* send = nullptr;
  char* receive = nullptr;
};

bool Multicast::is_available(int) {
  return true;
}

Multicast::Multicast(RankGroup& group) : memory_(std::make_unique<Memory>()) {
  const kernels::PeerBuffers& any = group.peers(0);
  const auto bytes = static_cast<size_t>(any.capacity);
  memory_->addresses.resize(2 * bytes + 32);
  char* base = memory_->addresses.data();
  memory_->send = base + (16 - reinterpret_cast<uintptr_t>(base) % 16) % 16;
  memory_->receive = memory_->send + bytes;
  shim::register_multicast(memory_->send, bytes, {any.send, any.send + group.ranks()});
  shim::register_multicast(memory_->receive, bytes, {any.receive, any.receive + group.ranks()});
  for (int rank = 0; rank < group.ranks(); ++rank) {
    group.peers(rank).multicast_send = memory_->send;
    group.peers(rank).multicast_receive = memory_->receive;
  }
}

Multicast::~Multicast() {
  shim::forget_multicast(memory_->send);
  shim::forget_multicast(memory_->receive);
}

}  // namespace kraken::test
