#include "communicator/driver_memory.h"

#include <utility>

namespace kraken::plugins {
namespace {

constexpr CUmemAllocationHandleType kDescriptor = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;

}  // namespace

std::shared_ptr<PhysicalMemory> PhysicalMemory::of_device(CUdevice device, size_t bytes) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = kDescriptor;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  CUmemGenericAllocationHandle handle = 0;
  check_driver(driver_api().mem_create(&handle, bytes, &properties, 0), "allocating exchange buffers");
  return std::make_shared<PhysicalMemory>(handle);
}

std::shared_ptr<PhysicalMemory> PhysicalMemory::multicast(const CUmulticastObjectProp& properties) {
  CUmemGenericAllocationHandle handle = 0;
  check_driver(driver_api().multicast_create(&handle, &properties), "creating a multicast object");
  return std::make_shared<PhysicalMemory>(handle);
}

std::shared_ptr<PhysicalMemory> PhysicalMemory::import(const Descriptor& descriptor) {
  CUmemGenericAllocationHandle handle = 0;
  void* number = reinterpret_cast<void*>(static_cast<intptr_t>(descriptor.get()));
  check_driver(driver_api().mem_import_from_shareable_handle(&handle, number, kDescriptor),
               "importing a peer's memory");
  return std::make_shared<PhysicalMemory>(handle);
}

Descriptor PhysicalMemory::descriptor() const {
  int number = -1;
  check_driver(driver_api().mem_export_to_shareable_handle(&number, handle_, kDescriptor, 0),
               "exporting memory");
  return Descriptor(number);
}

Mapping::Mapping(std::shared_ptr<PhysicalMemory> memory, size_t bytes, size_t alignment, int32_t device)
    : memory_(std::move(memory)), bytes_(bytes) {
  const DriverApi& driver = driver_api();
  check_driver(driver.mem_address_reserve(&address_, bytes, alignment, 0, 0), "reserving addresses");
  try {
    check_driver(driver.mem_map(address_, bytes, 0, memory_->handle(), 0), "mapping memory");
    mapped_ = true;
    CUmemAccessDesc access{};
    access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    access.location.id = device;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    check_driver(driver.mem_set_access(address_, bytes, &access, 1), "gaining access to memory");
  } catch (...) {
    release();
    throw;
  }
}

void Mapping::release() {
  if (mapped_) driver_api().mem_unmap(address_, bytes_);
  driver_api().mem_address_free(address_, bytes_);
}

MulticastBinding::MulticastBinding(std::shared_ptr<PhysicalMemory> multicast, CUdevice device,
                                   std::shared_ptr<PhysicalMemory> memory, size_t bytes)
    : multicast_(std::move(multicast)), memory_(std::move(memory)), device_(device), bytes_(bytes) {
  check_driver(driver_api().multicast_bind_mem(multicast_->handle(), 0, memory_->handle(), 0, bytes, 0),
               "binding memory to a multicast object");
}

}  // namespace kraken::plugins
