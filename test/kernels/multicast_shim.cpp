#include "multicast.h"
#include "shim_ptx.h"

namespace kraken::test {

bool Multicast::is_available() {
  return true;
}

Multicast::Multicast(RankGroup& group) {
  const kernels::PeerBuffers& any = group.peers(0);
  const auto bytes = static_cast<size_t>(any.capacity);
  addresses_.resize(2 * bytes + 32);
  char* base = addresses_.data();
  send_ = base + (16 - reinterpret_cast<uintptr_t>(base) % 16) % 16;
  receive_ = send_ + bytes;
  shim::register_multicast(send_, bytes, {any.send, any.send + group.ranks()});
  shim::register_multicast(receive_, bytes, {any.receive, any.receive + group.ranks()});
  for (int rank = 0; rank < group.ranks(); ++rank) {
    group.peers(rank).multicast_send = send_;
    group.peers(rank).multicast_receive = receive_;
  }
}

Multicast::~Multicast() {
  shim::forget_multicast(send_);
  shim::forget_multicast(receive_);
}

}  // namespace kraken::test
