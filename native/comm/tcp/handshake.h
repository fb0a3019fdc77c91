// Proof of a shared secret, both ways, before anything else is said on a connection: a challenge and an
// HMAC-SHA-256 of both challenges, the role and what the side says of itself. The side that connects proves
// first. What follows on the connection is neither encrypted nor authenticated: docs/multi-host.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/tcp/socket.h"

namespace kraken {

enum class HandshakeRole : uint8_t { Connects = 1, Accepts = 2 };

constexpr size_t kMostIdentityBytes = 4096;

// Returns what the other side says of itself, which is what it signed. Throws ERR_HOSTS, naming `who`: no
// answer by then, another protocol, or a proof that is wrong.
std::vector<uint8_t> shake_hands(const Descriptor& socket, HandshakeRole role, const std::string& secret,
                                 const std::vector<uint8_t>& identity, Deadline deadline,
                                 const std::string& who);

// 256 bits from the system, in hex. Throws ERR_IO.
std::string random_secret();

}  // namespace kraken
