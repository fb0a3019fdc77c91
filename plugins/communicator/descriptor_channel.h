// Passes file descriptors, which stand for memory, between ranks that are processes of one machine. A socket
// in the abstract namespace, so nothing lies on disk; whoever sends must know a token that went through the
// ranks' rendezvous, as the names of such sockets are no secret.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <utility>

namespace kraken::plugins {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();

  int get() const { return number_; }

 private:
  int number_ = -1;
};

class DescriptorChannel {
 public:
  struct Address {
    std::array<uint64_t, 2> name{}, token{};
  };

  // Throws PluginError, as all below.
  DescriptorChannel();

  const Address& address() const { return address_; }
  void send(const Address& to, int32_t own_rank, const Descriptor& descriptor) const;
  // The oldest one of this rank's; within a second, since what is received here was sent before the ranks
  // met.
  Descriptor receive(int32_t rank);

 private:
  Address address_;
  Descriptor socket_;
  std::multimap<int32_t, Descriptor> waiting_;  // by rank: of those that were not asked for yet
};

}  // namespace kraken::plugins
