// A device in this process's memory, for tests: what its stream is given runs when it is waited for, and what
// is captured runs when it is launched.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "backend/tensorrt/device.h"
#include "base/error.h"

namespace kraken::test {

class HostDevice : public tensorrt::Device {
 public:
  using Work = std::function<void()>;
  struct Stream {
    std::vector<Work> work;
  };

  tensorrt::DeviceMemory memory() const override { return {size_t{8} << 30, size_t{8} << 30}; }
  tensorrt::Allocation allocate(size_t bytes) override {
    return {static_cast<std::byte*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256)), std::free};
  }
  tensorrt::Allocation allocate_pinned(size_t bytes) override { return allocate(bytes); }
  void copy_to_device(void* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
  void copy_to_host(void* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
  void run(std::function<void(void*)> enqueue) override {
    stream_.work.push_back([enqueue = std::move(enqueue)] { enqueue(nullptr); });
  }
  void finish() override {
    for (const Work& work : std::exchange(stream_.work, {})) work();
  }
  std::unique_ptr<tensorrt::CapturedWork> capture(const std::function<void()>& enqueue) override {
    KRAKEN_CHECK(stream_.work.empty());
    enqueue();
    return std::make_unique<Captured>(stream_, std::exchange(stream_.work, {}));
  }

 protected:
  Stream stream_;

 private:
  class Captured final : public tensorrt::CapturedWork {
   public:
    Captured(Stream& stream, std::vector<Work> work) : stream_(stream), work_(std::move(work)) {}
    void launch() override { stream_.work.insert(stream_.work.end(), work_.begin(), work_.end()); }

   private:
    Stream& stream_;
    const std::vector<Work> work_;
  };

  void copy(void* to, const void* from, size_t bytes) {
    stream_.work.push_back([=] { std::memcpy(to, from, bytes); });
  }
};

}  // namespace kraken::test
