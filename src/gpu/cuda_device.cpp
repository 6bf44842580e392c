#include <array>
#include <bit>

#include "gpu/cuda_driver.h"
#include "gpu/device.h"
#include "gpu/driver_device.h"
#include "gpu/ptx_header.h"

namespace tetrad::gpu {
namespace {

// A launch takes some microseconds to get going, longer than many a kernel runs. Launched with this
// attribute, a kernel's blocks are set up while the last of the kernel before it still run; each
// kernel executes griddepcontrol.wait before it touches memory, and by that waits until all of the
// kernel before it, and so all before that, is done and seen.
constexpr bool kOverlapLaunches = true;
// The first compute capability that knows it.
constexpr int kFirstMajorThatOverlaps = 9;

constexpr const char* kCudaLibraries[] = {"libcuda.so.1"};

class CudaDriver final : public Driver {
 public:
  CudaDriver() = default;
  CudaDriver(const CudaDriver&) = delete;
  CudaDriver& operator=(const CudaDriver&) = delete;
  ~CudaDriver() override {
    for (const int peer : peers_)
      release_context_.call(peer);
    if (context_ != nullptr) release_context_.call(device_);
  }

  Result<void> load();
  Result<DeviceInfo> open(int index);
  /// Compiles. `info` is for the message.
  Result<DriverHandle> load_module(std::string_view ptx, const DeviceInfo& info) const;

  Result<void> make_current() const override { return call(set_context_, context_); }
  Result<void> allow_all_shared_memory(DriverHandle function) const override;
  Result<void> launch(DriverHandle function, const LaunchShape& shape, DriverHandle stream,
                      void** arguments) const override;
  int enable_peer_access(int peer) const override;

 private:
  LibraryFunction<DriverHandle*, int> retain_context_;
  LibraryFunction<int> release_context_;
  LibraryFunction<DriverHandle> set_context_;
  LibraryFunction<DriverHandle*, const void*, unsigned, int*, void**> load_module_;
  LibraryFunction<int*, int, DriverHandle> function_attribute_;
  LibraryFunction<DriverHandle, int, int> set_function_attribute_;
  LibraryFunction<const cuda::LaunchConfig*, DriverHandle, void**, void**> launch_ex_;
  LibraryFunction<DriverHandle, unsigned> enable_peer_access_;
  DriverHandle context_ = nullptr;
  mutable std::vector<int> peers_;  // whose contexts this one refers to
  int device_ = 0;
  int shared_bytes_per_block_ = 0;
  bool overlap_launches_ = false;
};

Result<void> CudaDriver::load() {
  auto opened = SharedLibrary::open(kCudaLibraries);
  if (!opened)
    return fail(ErrorCode::not_found,
                "no NVIDIA driver: libcuda.so.1 was not found; install the NVIDIA driver, or use "
                "--device cpu ({})",
                opened.error().message);
  SharedLibrary& library = *opened;
  DriverFunctions& f = functions_;
  library.find("cuInit", f.init);
  library.find("cuDriverGetVersion", f.version);
  library.find("cuGetErrorName", f.error_name);
  library.find("cuGetErrorString", f.error_text);
  library.find("cuDeviceGetCount", f.device_count);
  library.find("cuDeviceGet", f.device);
  library.find("cuDeviceGetName", f.device_name);
  library.find("cuDeviceGetAttribute", f.device_attribute);
  library.find("cuMemGetInfo_v2", f.memory_info);
  library.find("cuMemAlloc_v2", f.allocate);
  library.find("cuMemFree_v2", f.free);
  library.find("cuMemHostAlloc", f.allocate_pinned);
  library.find("cuMemFreeHost", f.free_pinned);
  library.find("cuMemcpyHtoDAsync_v2", f.copy_to_device);
  library.find("cuMemcpyDtoHAsync_v2", f.copy_to_host);
  library.find("cuMemsetD8Async", f.fill);
  library.find("cuStreamCreate", f.create_stream);
  library.find("cuStreamSynchronize", f.synchronize_stream);
  library.find("cuStreamDestroy_v2", f.destroy_stream);
  library.find("cuModuleUnload", f.unload_module);
  library.find("cuModuleGetFunction", f.module_function);
  library.find("cuLaunchKernel", f.launch);
  library.find("cuStreamBeginCapture_v2", f.begin_capture);
  library.find("cuStreamEndCapture", f.end_capture);
  library.find("cuGraphInstantiateWithFlags", f.instantiate_graph);
  library.find("cuGraphLaunch", f.launch_graph);
  library.find("cuGraphExecDestroy", f.destroy_executable_graph);
  library.find("cuGraphDestroy", f.destroy_graph);
  library.find("cuEventCreate", f.create_event);
  library.find("cuEventRecord", f.record_event);
  library.find("cuEventSynchronize", f.synchronize_event);
  library.find("cuEventElapsedTime", f.elapsed_milliseconds);
  library.find("cuEventDestroy_v2", f.destroy_event);
  library.find("cuDevicePrimaryCtxRetain", retain_context_);
  library.find("cuDevicePrimaryCtxRelease_v2", release_context_);
  library.find("cuCtxSetCurrent", set_context_);
  library.find("cuModuleLoadDataEx", load_module_);
  library.find("cuFuncGetAttribute", function_attribute_);
  library.find("cuFuncSetAttribute", set_function_attribute_);
  library.find_optional("cuLaunchKernelEx", launch_ex_);
  library.find_optional("cuGraphUpload", f.upload_graph);
  library.find_optional("cuDeviceGetPCIBusId", f.device_bus_id);
  library.find_optional("cuIpcGetMemHandle", f.export_memory);
  library.find_optional("cuIpcOpenMemHandle_v2", f.open_memory);
  library.find_optional("cuIpcCloseMemHandle", f.close_memory);
  library.find_optional("cuDeviceCanAccessPeer", f.can_access_peer);
  library.find_optional("cuCtxEnablePeerAccess", enable_peer_access_);
  library.find_optional("cuMemHostRegister_v2", f.map_host_memory);
  library.find_optional("cuMemHostGetDevicePointer_v2", f.mapped_address);
  library.find_optional("cuMemHostUnregister", f.unmap_host_memory);
  return library.check_all_found("install a newer one, or use --device cpu");
}

Result<DeviceInfo> CudaDriver::open(int index) {
  TETRAD_ASSIGN(device_, open_device(index, "NVIDIA", "see what nvidia-smi says"));
  TETRAD_ASSIGN(
      DeviceInfo info,
      describe(device_, {.num_multiprocessors = cuda::kAttributeMultiprocessorCount,
                         .l2_bytes = cuda::kAttributeL2CacheSize,
                         .shared_bytes_per_block = cuda::kAttributeMaxSharedMemoryPerBlockOptin}));
  shared_bytes_per_block_ = static_cast<int>(info.shared_bytes_per_block);
  int major = 0;
  int minor = 0;
  TETRAD_TRY(
      call(functions_.device_attribute, &major, cuda::kAttributeComputeCapabilityMajor, device_));
  TETRAD_TRY(
      call(functions_.device_attribute, &minor, cuda::kAttributeComputeCapabilityMinor, device_));
  info.architecture = fmt::format("sm_{}{}", major, minor);
  overlap_launches_ =
      kOverlapLaunches && launch_ex_.call != nullptr && major >= kFirstMajorThatOverlaps;
  int version = 0;
  TETRAD_TRY(call(functions_.version, &version));
  info.driver = fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10);
  TETRAD_TRY(call(retain_context_, &context_, device_));
  TETRAD_TRY(make_current());
  return info;
}

Result<DriverHandle> CudaDriver::load_module(std::string_view ptx, const DeviceInfo& info) const {
  const std::string text(ptx);  // with the 0 at its end that the driver looks for
  std::array<char, 8192> log{};
  int options[] = {cuda::kJitErrorLogBuffer, cuda::kJitErrorLogBufferSizeBytes};
  void* values[] = {log.data(), std::bit_cast<void*>(log.size() - 1)};  // a size, by value
  DriverHandle module = nullptr;
  const int status = load_module_.call(&module, text.c_str(), 2, options, values);
  if (status == kDriverSuccess) return module;

  const PtxHeader needs = read_ptx_header(ptx);
  if (status == cuda::kErrorUnsupportedPtxVersion)
    return fail(ErrorCode::unsupported,
                "the NVIDIA driver is too old: it is that of {}, and the kernels need one that "
                "takes PTX {}; install a newer driver, or use --device cpu",
                info.driver, needs.version);
  auto error = check(status, load_module_.name).error();
  if (error.code == ErrorCode::internal) {
    error.code = ErrorCode::unsupported;
    error.message += "; use --device cpu";
  }
  if (log[0] != '\0') error.message += fmt::format("; {}", log.data());
  return tl::unexpected(
      std::move(error).in(fmt::format("kernels of PTX {} for {} on {} ({}, {})", needs.version,
                                      needs.target, info.name, info.architecture, info.driver)));
}

// 48 KiB is what a launch gets without asking; what it has beyond costs nothing until it is used.
Result<void> CudaDriver::allow_all_shared_memory(DriverHandle function) const {
  int declared = 0;
  TETRAD_TRY(call(function_attribute_, &declared, cuda::kFunctionSharedSizeBytes, function));
  return call(set_function_attribute_, function, cuda::kFunctionMaxDynamicSharedSizeBytes,
              shared_bytes_per_block_ - declared);
}

Result<void> CudaDriver::launch(DriverHandle function, const LaunchShape& shape,
                                DriverHandle stream, void** arguments) const {
  if (!overlap_launches_) return Driver::launch(function, shape, stream, arguments);
  const cuda::LaunchAttribute overlap{
      .id = cuda::kLaunchProgrammaticStreamSerialization, .padding = 0, .value = 1, .rest = {}};
  const cuda::LaunchConfig config{.grid_x = shape.grid_x,
                                  .grid_y = shape.grid_y,
                                  .grid_z = shape.grid_z,
                                  .block_x = shape.threads,
                                  .block_y = 1,
                                  .block_z = 1,
                                  .shared_bytes = shape.shared_bytes,
                                  .stream = stream,
                                  .attributes = &overlap,
                                  .num_attributes = 1};
  return call(launch_ex_, &config, function, arguments, nullptr);
}

int CudaDriver::enable_peer_access(int peer) const {
  if (enable_peer_access_.call == nullptr) return kDriverNotFound;
  DriverHandle context = nullptr;
  if (const int status = retain_context_.call(&context, peer); status != kDriverSuccess)
    return status;
  peers_.push_back(peer);
  return enable_peer_access_.call(context, 0);
}

}  // namespace

Result<std::unique_ptr<Device>> open_cuda_device(std::span<const std::string_view> ptx_texts,
                                                 int index) {
  auto driver = std::make_shared<CudaDriver>();
  TETRAD_TRY(driver->load());
  TETRAD_ASSIGN(DeviceInfo info, driver->open(index));
  info.index = index;
  TETRAD_ASSIGN(DriverHandle module,
                driver->load_module(ptx_for(info.architecture, ptx_texts), info));
  return DriverDevice::create(std::move(driver), module, std::move(info));
}

}  // namespace tetrad::gpu
