// Never run on the hardware: written from the documentation of ROCm 6 and 7.

#include "gpu/device.h"
#include "gpu/driver_device.h"

namespace tetrad::gpu {
namespace {

// Not .5, which knows no gfx12.
constexpr const char* kHipLibraries[] = {"libamdhip64.so.7", "libamdhip64.so.6"};

// Numbers of hipDeviceAttribute_t, the same from ROCm 5 to 7.
constexpr DriverAttributes kHipAttributes = {
    .num_multiprocessors = 63, .l2_bytes = 19, .shared_bytes_per_block = 74};

class HipDriver final : public Driver {
 public:
  Result<void> load();
  Result<DeviceInfo> open(int index);
  /// The first of `code` that the device runs; sets `info.architecture` to its.
  Result<DriverHandle> load_module(std::span<const CodeObject> code, DeviceInfo& info) const;

  Result<void> make_current() const override { return call(set_device_, device_); }
  int enable_peer_access(int peer) const override {
    return enable_peer_access_.call == nullptr ? int{kDriverNotFound}
                                               : enable_peer_access_.call(peer, 0);
  }

 private:
  LibraryFunction<int> set_device_;
  LibraryFunction<DriverHandle*, const void*> load_module_;
  LibraryFunction<int, unsigned> enable_peer_access_;
  int device_ = 0;
};

Result<void> HipDriver::load() {
  auto opened = SharedLibrary::open(kHipLibraries);
  if (!opened)
    return fail(ErrorCode::not_found,
                "no HIP runtime: neither libamdhip64.so.7 nor libamdhip64.so.6 was found; install "
                "ROCm 6.4 or later, or use --device cpu ({})",
                opened.error().message);
  SharedLibrary& library = *opened;
  DriverFunctions& f = functions_;
  library.find("hipInit", f.init);
  library.find("hipRuntimeGetVersion", f.version);
  library.find("hipDrvGetErrorName", f.error_name);
  library.find("hipDrvGetErrorString", f.error_text);
  library.find("hipGetDeviceCount", f.device_count);
  library.find("hipDeviceGet", f.device);
  library.find("hipDeviceGetName", f.device_name);
  library.find("hipDeviceGetAttribute", f.device_attribute);
  library.find("hipMemGetInfo", f.memory_info);
  library.find("hipMalloc", f.allocate);
  library.find("hipFree", f.free);
  library.find("hipHostMalloc", f.allocate_pinned);
  library.find("hipHostFree", f.free_pinned);
  library.find("hipMemcpyHtoDAsync", f.copy_to_device);
  library.find("hipMemcpyDtoHAsync", f.copy_to_host);
  library.find("hipMemsetD8Async", f.fill);
  library.find("hipStreamCreateWithFlags", f.create_stream);
  library.find("hipStreamSynchronize", f.synchronize_stream);
  library.find("hipStreamDestroy", f.destroy_stream);
  library.find("hipModuleUnload", f.unload_module);
  library.find("hipModuleGetFunction", f.module_function);
  library.find("hipModuleLaunchKernel", f.launch);
  library.find("hipStreamBeginCapture", f.begin_capture);
  library.find("hipStreamEndCapture", f.end_capture);
  library.find("hipGraphInstantiateWithFlags", f.instantiate_graph);
  library.find("hipGraphLaunch", f.launch_graph);
  library.find("hipGraphExecDestroy", f.destroy_executable_graph);
  library.find("hipGraphDestroy", f.destroy_graph);
  library.find("hipEventCreateWithFlags", f.create_event);
  library.find("hipEventRecord", f.record_event);
  library.find("hipEventSynchronize", f.synchronize_event);
  library.find("hipEventElapsedTime", f.elapsed_milliseconds);
  library.find("hipEventDestroy", f.destroy_event);
  library.find("hipSetDevice", set_device_);
  library.find("hipModuleLoadData", load_module_);
  library.find_optional("hipGraphUpload", f.upload_graph);
  library.find_optional("hipDeviceGetPCIBusId", f.device_bus_id);
  library.find_optional("hipExtMallocWithFlags", f.allocate_uncached);
  library.find_optional("hipIpcGetMemHandle", f.export_memory);
  library.find_optional("hipIpcOpenMemHandle", f.open_memory);
  library.find_optional("hipIpcCloseMemHandle", f.close_memory);
  library.find_optional("hipDeviceCanAccessPeer", f.can_access_peer);
  library.find_optional("hipDeviceEnablePeerAccess", enable_peer_access_);
  library.find_optional("hipHostRegister", f.map_host_memory);
  library.find_optional("hipHostGetDevicePointer", f.mapped_address);
  library.find_optional("hipHostUnregister", f.unmap_host_memory);
  return library.check_all_found("install a newer one, or use --device cpu");
}

Result<DeviceInfo> HipDriver::open(int index) {
  TETRAD_ASSIGN(device_, open_device(index, "AMD",
                                     "see what rocminfo says and whether this user is in the "
                                     "groups render and video"));
  TETRAD_TRY(make_current());
  TETRAD_ASSIGN(DeviceInfo info, describe(device_, kHipAttributes));
  int version = 0;
  TETRAD_TRY(call(functions_.version, &version));
  info.driver = fmt::format("HIP {}.{}", version / 10'000'000, version / 100'000 % 100);
  return info;
}

// Tried in turn, as the name of the device's architecture stands in a large struct only whose
// layout changes from version to version.
Result<DriverHandle> HipDriver::load_module(std::span<const CodeObject> code,
                                            DeviceInfo& info) const {
  std::string reasons;
  for (const CodeObject& object : code) {
    DriverHandle module = nullptr;
    auto loaded = call(load_module_, &module, object.bytes.data());
    if (loaded) {
      info.architecture = object.architecture;
      return module;
    }
    reasons += fmt::format("; {}: {}", object.architecture, loaded.error().message);
  }
  return fail(ErrorCode::unsupported,
              "no kernels for {} ({}): gfx12 needs ROCm 6.4 or later; use --device cpu{}",
              info.name, info.driver, reasons);
}

}  // namespace

Result<std::unique_ptr<Device>> open_hip_device(std::span<const CodeObject> code, int index) {
  auto driver = std::make_shared<HipDriver>();
  TETRAD_TRY(driver->load());
  TETRAD_ASSIGN(DeviceInfo info, driver->open(index));
  info.index = index;
  TETRAD_ASSIGN(DriverHandle module, driver->load_module(code, info));
  return DriverDevice::create(std::move(driver), module, std::move(info));
}

}  // namespace tetrad::gpu
