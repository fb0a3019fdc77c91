// Hashes by their published test vectors; who gets past the handshake, and who doesn't.
#include "comm/tcp/handshake.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "base/error.h"
#include "comm/tcp/sha256.h"

namespace kraken {
namespace {

using namespace std::chrono_literals;
using Bytes = std::vector<uint8_t>;

Bytes bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

// FIPS 180-4's examples.
TEST(Sha256, PublishedVectors) {
  EXPECT_EQ(to_hex(sha256(bytes_of(""))), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256(bytes_of("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(to_hex(sha256(Bytes(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesAreCut) {
  Bytes bytes;
  for (int i = 0; i < 300; ++i) bytes.push_back(static_cast<uint8_t>(i * 7));
  for (size_t size : {0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 300}) {
    const std::span<const uint8_t> all(bytes.data(), size);
    for (size_t cut : {1, 3, 64, 65}) {
      Sha256 hash;
      for (size_t at = 0; at < size; at += cut) hash.update(all.subspan(at, std::min(cut, size - at)));
      EXPECT_EQ(hash.finish(), sha256(all)) << size << " bytes, " << cut << " at a time";
    }
  }
}

// RFC 4231, cases 1, 2 and 6.
TEST(Sha256, PublishedVectorsOfHmac) {
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(20, 0x0b), bytes_of("Hi There"))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(to_hex(hmac_sha256(bytes_of("Jefe"), bytes_of("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(131, 0xaa),
                               bytes_of("Test Using Larger Than Block-Size Key - Hash Key First"))),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

struct Side {
  std::string failure;  // empty: it got through
  Bytes heard;
};

Side shake(const Descriptor& socket, HandshakeRole role, const std::string& secret,
           const std::string& identity, std::chrono::milliseconds patience = 5s) {
  Side side;
  try {
    side.heard = shake_hands(socket, role, secret, bytes_of(identity),
                             std::chrono::steady_clock::now() + patience, "the other");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "ERR_HOSTS");
    side.failure = error.what();
  }
  return side;
}

struct Pair {
  Pair() {
    const Listener listener = listen_on("127.0.0.1");
    const auto deadline = std::chrono::steady_clock::now() + 5s;
    connecting = connect_to("127.0.0.1", listener.port, deadline);
    Accepted accepted = accept_from(listener, deadline).value();
    EXPECT_EQ(accepted.address, "127.0.0.1");
    accepting = std::move(accepted.socket);
  }
  Descriptor connecting, accepting;
};

TEST(Handshake, SidesThatShareASecretHearWhatEachSays) {
  Pair pair;
  Side accepts;
  std::thread thread(
      [&] { accepts = shake(pair.accepting, HandshakeRole::Accepts, "the same secret", "I am rank 0"); });
  const Side connects = shake(pair.connecting, HandshakeRole::Connects, "the same secret", "");
  thread.join();
  EXPECT_EQ(connects.failure, "");
  EXPECT_EQ(accepts.failure, "");
  EXPECT_EQ(connects.heard, bytes_of("I am rank 0"));
  EXPECT_EQ(accepts.heard, Bytes{});
}

TEST(Handshake, AnotherSecretIsRefusedByBoth) {
  Pair pair;
  Side accepts;
  std::thread thread([&] {
    accepts = shake(pair.accepting, HandshakeRole::Accepts, "the same secret", "a");
    pair.accepting = Descriptor();
  });
  const Side connects = shake(pair.connecting, HandshakeRole::Connects, "The same secret", "b");
  thread.join();
  EXPECT_NE(accepts.failure.find("does not know the secret"), std::string::npos) << accepts.failure;
  EXPECT_NE(connects.failure.find("has the same secret"), std::string::npos) << connects.failure;
}

// Whoever answers with what it was sent proves nothing.
TEST(Handshake, AnEchoIsRefused) {
  Pair pair;
  std::thread echo([&] {
    const auto deadline = std::chrono::steady_clock::now() + 5s;
    try {
      for (;;) {
        send_message(pair.connecting, receive_message(pair.connecting, 1 << 16, deadline, "it"), deadline,
                     "it");
      }
    } catch (const Error&) {
    }
  });
  const Side side = shake(pair.accepting, HandshakeRole::Accepts, "secret", "a", 300ms);
  pair.accepting = Descriptor();
  echo.join();
  EXPECT_NE(side.failure, "");
  Pair again;
  std::thread once_more([&] {
    const auto deadline = std::chrono::steady_clock::now() + 5s;
    for (int i = 0; i < 2; ++i) {
      send_message(again.accepting, receive_message(again.accepting, 1 << 16, deadline, "it"), deadline,
                   "it");
    }
  });
  const Side connects = shake(again.connecting, HandshakeRole::Connects, "secret", "a");
  once_more.join();
  EXPECT_NE(connects.failure.find("does not know the secret"), std::string::npos) << connects.failure;
}

TEST(Handshake, StrangersAndTheSilentAreRefusedInTime) {
  Pair pair;
  const std::string text = "GET / HTTP/1.1\r\nHost: kraken\r\n\r\n";
  ASSERT_GT(send(pair.connecting.get(), text.data(), text.size(), 0), 0);
  EXPECT_NE(shake(pair.accepting, HandshakeRole::Accepts, "secret", "").failure.find("does not speak"),
            std::string::npos);
  Pair silent;
  const auto from = std::chrono::steady_clock::now();
  EXPECT_NE(shake(silent.accepting, HandshakeRole::Accepts, "secret", "", 100ms).failure.find("not answer"),
            std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - from, 2s);
}

TEST(Sockets, SayWhichHostIsNotThere) {
  const auto failure = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code() + ": " + error.what();
    }
    return std::string("nothing");
  };
  uint16_t closed_port = 0;
  closed_port = listen_on("127.0.0.1").port;
  const std::string refused =
      failure([&] { connect_to("127.0.0.1", closed_port, std::chrono::steady_clock::now() + 120ms); });
  EXPECT_NE(refused.find("ERR_HOSTS: 127.0.0.1:" + std::to_string(closed_port)), std::string::npos)
      << refused;
  EXPECT_NE(failure([] { listen_on("192.0.2.1"); }).find("must name this machine"), std::string::npos);
  EXPECT_NE(failure([] { listen_on("no.such.host.invalid"); }).find("is not known"), std::string::npos);
}

TEST(Sockets, ASecretIsLongAndNeverTheSame) {
  EXPECT_EQ(random_secret().size(), 64u);
  EXPECT_NE(random_secret(), random_secret());
}

}  // namespace
}  // namespace kraken
