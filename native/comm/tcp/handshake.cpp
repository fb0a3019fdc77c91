#include "comm/tcp/handshake.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/random_bytes.h"
#include "comm/tcp/sha256.h"

namespace kraken {
namespace {

using Bytes = std::vector<uint8_t>;

// Says which protocol this is, and keeps these proofs apart from any other use of the secret.
constexpr char kGreeting[] = "kraken-hosts 1\n";
constexpr size_t kGreetingBytes = sizeof kGreeting - 1, kNonceBytes = 32;

void append(Bytes& bytes, std::span<const uint8_t> more) {
  const size_t at = bytes.size();
  bytes.resize(at + more.size());
  if (!more.empty()) std::memcpy(bytes.data() + at, more.data(), more.size());
}

Sha256Digest random_digest() {
  Sha256Digest bytes;
  fill_with_random(bytes);
  return bytes;
}

Sha256Digest proof(const std::string& secret, HandshakeRole role, std::span<const uint8_t> own_nonce,
                   std::span<const uint8_t> other_nonce, std::span<const uint8_t> identity) {
  Bytes message;
  append(message, {reinterpret_cast<const uint8_t*>(kGreeting), kGreetingBytes});
  message.push_back(static_cast<uint8_t>(role));
  append(message, own_nonce);
  append(message, other_nonce);
  append(message, identity);
  return hmac_sha256({reinterpret_cast<const uint8_t*>(secret.data()), secret.size()}, message);
}

}  // namespace

std::vector<uint8_t> shake_hands(const Descriptor& socket, HandshakeRole role, const std::string& secret,
                                 const std::vector<uint8_t>& identity, Deadline deadline,
                                 const std::string& who) {
  static_assert(std::tuple_size_v<Sha256Digest> == kNonceBytes);
  const Sha256Digest nonce = random_digest();
  Bytes greeting(kGreeting, kGreeting + kGreetingBytes);
  append(greeting, nonce);
  send_message(socket, greeting, deadline, who);
  const Bytes theirs = receive_message(socket, greeting.size(), deadline, who);
  if (theirs.size() != greeting.size() ||
      !std::equal(greeting.begin(), greeting.begin() + kGreetingBytes, theirs.begin())) {
    throw Error("ERR_HOSTS", who + " does not speak this protocol");
  }
  const std::span<const uint8_t> their_nonce = std::span(theirs).subspan(kGreetingBytes);

  const auto prove = [&] {
    const Sha256Digest own = proof(secret, role, nonce, their_nonce, identity);
    Bytes message(own.begin(), own.end());
    append(message, identity);
    send_message(socket, message, deadline, who);
  };
  const auto check = [&] {
    const std::string asked =
        role == HandshakeRole::Connects ? who + ", asked whether it has the same secret," : who;
    const Bytes message = receive_message(socket, kNonceBytes + kMostIdentityBytes, deadline, asked);
    if (message.size() < kNonceBytes) throw Error("ERR_HOSTS", who + " does not speak this protocol");
    Sha256Digest claimed;
    std::copy_n(message.begin(), claimed.size(), claimed.begin());
    Bytes said(message.begin() + static_cast<ptrdiff_t>(claimed.size()), message.end());
    const HandshakeRole their_role =
        role == HandshakeRole::Connects ? HandshakeRole::Accepts : HandshakeRole::Connects;
    if (!same_digest(claimed, proof(secret, their_role, their_nonce, nonce, said))) {
      throw Error("ERR_HOSTS", who + " does not know the secret: all ranks of an engine need the same");
    }
    return said;
  };
  if (role == HandshakeRole::Accepts) {
    Bytes said = check();
    prove();
    return said;
  }
  prove();
  return check();
}

std::string random_secret() {
  return to_hex(random_digest());
}

}  // namespace kraken
