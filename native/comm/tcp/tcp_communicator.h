// A Communicator over TCP: its communication thread sleeps in poll(2), and a socket that has something wakes
// it at once.
#pragma once

#include "base/descriptor.h"
#include "comm/framed/framed_communicator.h"

namespace kraken {

struct TcpPeer {
  Descriptor socket;  // connected, and handshaken with
  std::string name;   // host:port
};

// peers[r] leads to rank r; the own entry is not used.
std::unique_ptr<FramedCommunicator> make_tcp_communicator(int rank, std::vector<TcpPeer> peers,
                                                          const FramedGroupOptions& options);

}  // namespace kraken
