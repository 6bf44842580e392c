#pragma once

// What the CUDA driver API and the HIP runtime have in common. HIP follows CUDA function by
// function, with other names and the same parameters, so that one table of pointers serves both
// (an address on the device is a uint64_t here, which HIP passes as a pointer: the same register).

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "gpu/device.h"
#include "gpu/shared_library.h"

namespace tetrad::gpu {

/// Contexts, streams, modules, functions, events and graphs are pointers to the unknown.
using DriverHandle = void*;

struct DriverFunctions {
  LibraryFunction<unsigned> init;
  LibraryFunction<int*> version;
  LibraryFunction<int, const char**> error_name;
  LibraryFunction<int, const char**> error_text;

  LibraryFunction<int*> device_count;
  LibraryFunction<int*, int> device;
  LibraryFunction<char*, int, int> device_name;
  LibraryFunction<int*, int, int> device_attribute;

  LibraryFunction<size_t*, size_t*> memory_info;  // free, total
  LibraryFunction<DeviceAddress*, size_t> allocate;
  LibraryFunction<DeviceAddress> free;
  LibraryFunction<void**, size_t, unsigned> allocate_pinned;
  LibraryFunction<void*> free_pinned;
  LibraryFunction<DeviceAddress, const void*, size_t, DriverHandle> copy_to_device;
  LibraryFunction<void*, DeviceAddress, size_t, DriverHandle> copy_to_host;
  LibraryFunction<DeviceAddress, unsigned char, size_t, DriverHandle> fill;

  LibraryFunction<DriverHandle*, unsigned> create_stream;
  LibraryFunction<DriverHandle> synchronize_stream;
  LibraryFunction<DriverHandle> destroy_stream;

  LibraryFunction<DriverHandle> unload_module;
  LibraryFunction<DriverHandle*, DriverHandle, const char*> module_function;
  LibraryFunction<DriverHandle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                  unsigned, DriverHandle, void**, void**>
      launch;  // function, grid, block, bytes of shared memory, stream, arguments, nullptr

  LibraryFunction<DriverHandle, int> begin_capture;
  LibraryFunction<DriverHandle, DriverHandle*> end_capture;
  LibraryFunction<DriverHandle*, DriverHandle, unsigned long long> instantiate_graph;
  LibraryFunction<DriverHandle, DriverHandle> launch_graph;
  LibraryFunction<DriverHandle> destroy_executable_graph;
  LibraryFunction<DriverHandle> destroy_graph;

  LibraryFunction<DriverHandle*, unsigned> create_event;
  LibraryFunction<DriverHandle, DriverHandle> record_event;
  LibraryFunction<DriverHandle> synchronize_event;
  LibraryFunction<float*, DriverHandle, DriverHandle> elapsed_milliseconds;
  LibraryFunction<DriverHandle> destroy_event;

  // What one device alone does without: may be absent.
  LibraryFunction<DriverHandle, DriverHandle> upload_graph;
  LibraryFunction<char*, int, int> device_bus_id;
  LibraryFunction<DeviceAddress*, size_t, unsigned> allocate_uncached;
  LibraryFunction<MemoryHandle*, DeviceAddress> export_memory;
  LibraryFunction<DeviceAddress*, MemoryHandle, unsigned> open_memory;
  LibraryFunction<DeviceAddress> close_memory;
  LibraryFunction<int*, int, int> can_access_peer;
  LibraryFunction<void*, size_t, unsigned> map_host_memory;
  LibraryFunction<DeviceAddress*, void*, unsigned> mapped_address;
  LibraryFunction<void*> unmap_host_memory;
};

/// The statuses that are acted upon; they are the same in both.
enum DriverStatus : int {
  kDriverSuccess = 0,
  kDriverOutOfMemory = 2,
  kDriverNoDevice = 100,
  kDriverNotFound = 500,
  kDriverPeerAccessAlreadyEnabled = 704,
};

/// The numbers of device_attribute, which differ.
struct DriverAttributes {
  int num_multiprocessors;
  int l2_bytes;
  int shared_bytes_per_block;
};

/// A loaded driver and the one device that is used of it.
class Driver {
 public:
  virtual ~Driver() = default;

  const DriverFunctions& functions() const { return functions_; }

  /// Calls of this thread are about this device from here on. Every function of Device starts with
  /// it: it costs little, and the thread may be another one each time.
  virtual Result<void> make_current() const = 0;
  /// Lets launches of `function` ask for as much shared memory as the device has.
  virtual Result<void> allow_all_shared_memory(DriverHandle function) const;
  virtual Result<void> launch(DriverHandle function, const LaunchShape& shape, DriverHandle stream,
                              void** arguments) const;
  /// The current device may use `peer`'s memory from here on: a status.
  virtual int enable_peer_access(int peer) const = 0;

  /// A device's number for the driver, by its place. Errors: not_found.
  Result<int> device_at(int index) const;

  template <class... Parameters>
  Result<void> call(const LibraryFunction<Parameters...>& function,
                    std::type_identity_t<Parameters>... arguments) const {
    return check(function.call(arguments...), function.name);
  }
  /// The same of a function that an old driver may lack. Errors: also unsupported.
  template <class... Parameters>
  Result<void> call_optional(const LibraryFunction<Parameters...>& function,
                             std::type_identity_t<Parameters>... arguments) const {
    if (function.call == nullptr)
      return fail(ErrorCode::unsupported, "the GPU's driver has no {}: install a newer one",
                  function.name);
    return check(function.call(arguments...), function.name);
  }
  /// "cuInit: CUDA_ERROR_UNKNOWN, unknown error": the driver's name and text for a status.
  std::string explain(int status, std::string_view function) const;
  /// The error of a status other than 0, with explain(). Errors: resource_exhausted (with what is
  /// free of the GPU's memory), internal.
  Result<void> check(int status, std::string_view function) const;

 protected:
  /// Initialises the driver and finds its GPU number `index`. Errors: not_found, with `hint`; io.
  Result<int> open_device(int index, std::string_view vendor, std::string_view hint) const;
  /// What both drivers are asked for in the same way: all but the architecture and the driver.
  Result<DeviceInfo> describe(int device, const DriverAttributes& attributes) const;

  DriverFunctions functions_;
};

}  // namespace tetrad::gpu
