// How values become bytes and come back: little-endian, fixed widths, a count before each sequence, no
// padding. Writer and Reader take the same call, so that one list of fields (messages.cpp) serves both
// directions.
//
// A Reader trusts nothing. It never reads beyond its bytes, never makes room for more elements than the bytes
// that are left could hold, and throws ERR_RANK_LOST: bytes that say something impossible mean that the other
// side is not what it should be.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"

namespace kraken {

static_assert(std::endian::native == std::endian::little, "the wire format is the memory's");

[[noreturn]] inline void garbled(const std::string& what) {
  throw Error("ERR_RANK_LOST", "a message between processes is garbled: " + what);
}

template <typename T>
concept WireNumber = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;
// Enumerations that name their last value by last_of().
template <typename T>
concept WireEnum = std::is_enum_v<T>;

class Writer {
 public:
  template <typename... Values>
  void operator()(const Values&... values) {
    (put(values), ...);
  }

  // As they are, without their number.
  void append(std::span<const uint8_t> bytes) { raw(bytes.data(), bytes.size()); }

  size_t size() const { return bytes_.size(); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  std::vector<uint8_t> take() && { return std::move(bytes_); }
  // Writes over what is there.
  void overwrite(size_t offset, uint32_t value) { std::memcpy(bytes_.data() + offset, &value, sizeof value); }

 private:
  // Not inlined: g++ 12 would warn of an overflow that cannot be.
  [[gnu::noinline]] void raw(const void* data, size_t size) {
    if (size == 0) return;
    const size_t at = bytes_.size();
    bytes_.resize(at + size);
    std::memcpy(bytes_.data() + at, data, size);
  }
  void count(size_t n) { put(static_cast<uint32_t>(n)); }

  template <WireNumber T>
  void put(T value) {
    raw(&value, sizeof value);
  }
  template <WireEnum T>
  void put(T value) {
    put(static_cast<uint8_t>(value));
  }
  void put(bool value) { put(static_cast<uint8_t>(value)); }
  void put(const std::string& text) {
    count(text.size());
    raw(text.data(), text.size());
  }
  template <WireNumber T>
  void put(const std::vector<T>& values) {
    count(values.size());
    raw(values.data(), values.size() * sizeof(T));
  }
  template <typename A, typename B>
  void put(const std::pair<A, B>& pair) {
    put(pair.first);
    put(pair.second);
  }
  template <typename T>
  void put(const std::vector<T>& values) {
    count(values.size());
    for (const T& value : values) put(value);
  }
  template <typename T>
  void put(const std::map<std::string, T>& values) {
    count(values.size());
    for (const auto& entry : values) put(entry);
  }

  std::vector<uint8_t> bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename... Values>
  void operator()(Values&... values) {
    (get(values), ...);
  }

  bool at_end() const { return bytes_.empty(); }
  // All that is left, unread: for who only passes it on.
  std::span<const uint8_t> rest() { return std::exchange(bytes_, {}); }
  // Nothing may be left.
  void end() const {
    if (!at_end()) garbled(std::to_string(bytes_.size()) + " bytes too many");
  }

 private:
  const uint8_t* raw(size_t size) {
    if (size > bytes_.size()) garbled("it ends too early");
    const uint8_t* data = bytes_.data();
    bytes_ = bytes_.subspan(size);
    return data;
  }
  // `least`: bytes that an element takes at least.
  size_t count(size_t least) {
    uint32_t n = 0;
    get(n);
    if (n > bytes_.size() / least) garbled("a count of " + std::to_string(n) + " is more than follows");
    return n;
  }

  template <WireNumber T>
  void get(T& value) {
    std::memcpy(&value, raw(sizeof value), sizeof value);
  }
  template <WireEnum T>
  void get(T& value) {
    const uint8_t number = *raw(1);
    if (number > static_cast<uint8_t>(last_of(T{}))) garbled("an unknown kind " + std::to_string(number));
    value = static_cast<T>(number);
  }
  void get(bool& value) {
    const uint8_t byte = *raw(1);
    if (byte > 1) garbled("neither true nor false");
    value = byte == 1;
  }
  void get(std::string& text) {
    const size_t size = count(1);
    text.assign(reinterpret_cast<const char*>(raw(size)), size);
  }
  template <WireNumber T>
  void get(std::vector<T>& values) {
    const size_t n = count(sizeof(T));
    values.resize(n);
    if (n > 0) std::memcpy(values.data(), raw(n * sizeof(T)), n * sizeof(T));
  }
  template <typename A, typename B>
  void get(std::pair<A, B>& pair) {
    get(pair.first);
    get(pair.second);
  }
  template <typename T>
  void get(std::vector<T>& values) {
    values.clear();
    for (size_t n = count(kLeastBytes); n > 0; --n) get(values.emplace_back());
  }
  template <typename T>
  void get(std::map<std::string, T>& values) {
    values.clear();
    for (size_t n = count(kLeastBytes); n > 0; --n) {
      std::pair<std::string, T> entry;
      get(entry);
      values.insert(std::move(entry));
    }
  }

  static constexpr size_t kLeastBytes = 4;  // what an element that is no number takes at least

  std::span<const uint8_t> bytes_;
};

}  // namespace kraken
