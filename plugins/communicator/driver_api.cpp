#include "communicator/driver_api.h"

#include <dlfcn.h>

namespace kraken::plugins {
namespace {

DriverApi open_driver() {
  DriverApi api;
  void* handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    api.problem = "there is no CUDA driver (libcuda.so.1)";
    return api;
  }
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (function == nullptr && api.problem.empty()) {
      api.problem = std::string("the CUDA driver is too old: it has no ") + name;
    }
  };
  load(api.init, "cuInit");
  load(api.get_error_name, "cuGetErrorName");
  load(api.device_get, "cuDeviceGet");
  load(api.device_get_uuid, "cuDeviceGetUuid_v2");  // of a MIG slice, not of its GPU
  load(api.device_get_attribute, "cuDeviceGetAttribute");
  load(api.mem_create, "cuMemCreate");
  load(api.mem_release, "cuMemRelease");
  load(api.mem_get_allocation_granularity, "cuMemGetAllocationGranularity");
  load(api.mem_export_to_shareable_handle, "cuMemExportToShareableHandle");
  load(api.mem_import_from_shareable_handle, "cuMemImportFromShareableHandle");
  load(api.mem_address_reserve, "cuMemAddressReserve");
  load(api.mem_address_free, "cuMemAddressFree");
  load(api.mem_map, "cuMemMap");
  load(api.mem_unmap, "cuMemUnmap");
  load(api.mem_set_access, "cuMemSetAccess");
  load(api.multicast_create, "cuMulticastCreate");
  load(api.multicast_add_device, "cuMulticastAddDevice");
  load(api.multicast_bind_mem, "cuMulticastBindMem");
  load(api.multicast_unbind, "cuMulticastUnbind");
  load(api.multicast_get_granularity, "cuMulticastGetGranularity");
  if (api.problem.empty() && api.init(0) != CUDA_SUCCESS) api.problem = "the CUDA driver finds no device";
  return api;
}

}  // namespace

const DriverApi& driver_api() {
  static const DriverApi api = open_driver();
  return api;
}

void check_driver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  if (driver_api().get_error_name(result, &name) != CUDA_SUCCESS || name == nullptr) name = "unknown error";
  throw PluginError(std::string(what) + " failed: " + name);
}

}  // namespace kraken::plugins
