// Physical memory and its mappings, as objects: what was made is undone in the reverse order, so a set-up
// that fails halfway leaves nothing.
#pragma once

#include <cstdint>
#include <memory>

#include "communicator/descriptor_channel.h"
#include "communicator/driver_api.h"

namespace kraken::plugins {

// Memory of a device, or a multicast object, that any process with its descriptor may map. Shared by the
// ranks of a process: who goes last releases it.
class PhysicalMemory {
 public:
  static std::shared_ptr<PhysicalMemory> of_device(CUdevice device, size_t bytes);
  static std::shared_ptr<PhysicalMemory> multicast(const CUmulticastObjectProp& properties);
  static std::shared_ptr<PhysicalMemory> import(const Descriptor& descriptor);

  explicit PhysicalMemory(CUmemGenericAllocationHandle handle) : handle_(handle) {}
  ~PhysicalMemory() { driver_api().mem_release(handle_); }
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;

  CUmemGenericAllocationHandle handle() const { return handle_; }
  Descriptor descriptor() const;

 private:
  CUmemGenericAllocationHandle handle_;
};

// A range of addresses through which one device reads and writes such memory.
class Mapping {
 public:
  Mapping(std::shared_ptr<PhysicalMemory> memory, size_t bytes, size_t alignment, int32_t device);
  ~Mapping() { release(); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* data() const { return reinterpret_cast<char*>(address_); }

 private:
  void release();

  std::shared_ptr<PhysicalMemory> memory_;
  size_t bytes_;
  CUdeviceptr address_ = 0;
  bool mapped_ = false;
};

// A rank's memory as a part of a multicast object.
class MulticastBinding {
 public:
  MulticastBinding(std::shared_ptr<PhysicalMemory> multicast, CUdevice device,
                   std::shared_ptr<PhysicalMemory> memory, size_t bytes);
  ~MulticastBinding() { driver_api().multicast_unbind(multicast_->handle(), device_, 0, bytes_); }
  MulticastBinding(const MulticastBinding&) = delete;
  MulticastBinding& operator=(const MulticastBinding&) = delete;

 private:
  std::shared_ptr<PhysicalMemory> multicast_, memory_;
  CUdevice device_;
  size_t bytes_;
};

}  // namespace kraken::plugins
