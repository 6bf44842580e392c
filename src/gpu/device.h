#pragma once

// One GPU as the rest of tetrad sees it: memory, a stream of launches, and graphs of them. Behind
// it stands the CUDA driver, the HIP runtime (both loaded when they are there, linked never), or
// the emulation, which runs the same kernels on the CPU.
//
// Everything asked for is done in order, and may be done later: only the functions that say so wait
// for it. An error of work done later is reported by the next function that waits. One thread at a
// time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "gpu/memory_sharing.h"

namespace tetrad::gpu {

struct DeviceInfo {
  std::string name;                 // "NVIDIA H200"
  std::string architecture;         // "sm_90", "gfx1201", "emulated"
  std::string driver;               // "CUDA 13.0"
  int64_t num_multiprocessors = 0;  // of AMD: workgroup processors
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;  // when asked
  int64_t l2_bytes = 0;
  int64_t shared_bytes_per_block = 0;  // what one block may ask for
  int index = 0;                       // among those of its driver
  int num_devices = 1;                 // that the driver has
  std::string bus_id;                  // "0000:1B:00.0"; "" of the emulation
};

/// How the threads of a launch are arranged: grid.x * grid.y * grid.z blocks of `threads`.
struct LaunchShape {
  uint32_t grid_x = 1;
  uint32_t grid_y = 1;
  uint32_t grid_z = 1;
  uint32_t threads = 32;      // a multiple of 32
  uint32_t shared_bytes = 0;  // of memory that the block's threads share
  /// Blocks wait for what others write. They must fit on the device together, which the caller
  /// knows: one a multiprocessor with memory that a block may have.
  bool blocks_meet = false;
};

/// A compiled kernel, found by name once; cheap to copy.
struct Kernel {
  void* handle = nullptr;
};

/// Launches recorded once, to be made again by one call.
class Graph {
 public:
  virtual ~Graph() = default;
};

class Device {
 public:
  virtual ~Device() = default;

  /// `free_bytes` is that of now.
  virtual Result<DeviceInfo> info() = 0;

  /// Aligned to 256 bytes, contents undefined. Errors: resource_exhausted, with what was asked for
  /// and what is free.
  virtual Result<DeviceAddress> allocate(int64_t bytes) = 0;
  /// Waits. 0 is ignored.
  virtual void free(DeviceAddress address) = 0;
  /// Host memory that the device copies from and to without the processor's help.
  virtual Result<std::byte*> allocate_pinned(int64_t bytes) = 0;
  virtual void free_pinned(std::byte* memory) = 0;

  /// The host memory must stay as it is until the copy is done: until the next wait.
  virtual Result<void> copy_to_device(DeviceAddress to, const void* from, int64_t bytes) = 0;
  virtual Result<void> copy_to_host(void* to, DeviceAddress from, int64_t bytes) = 0;
  virtual Result<void> fill(DeviceAddress address, uint8_t value, int64_t bytes) = 0;

  /// Errors: not_found.
  virtual Result<Kernel> kernel(std::string_view name) = 0;
  /// `arguments`: the kernel's one argument, a struct, which is copied. A kernel that may ask for
  /// more than 48 KiB of shared memory gets it.
  virtual Result<void> launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                              size_t argument_bytes) = 0;

  /// Between the two calls, copies, fills and launches are recorded and not done.
  virtual Result<void> begin_graph() = 0;
  virtual Result<std::unique_ptr<Graph>> end_graph() = 0;
  virtual Result<void> launch(const Graph& graph) = 0;

  /// Waits until all is done.
  virtual Result<void> synchronize() = 0;

  /// Memory that others have a part of: of this device, and no longer there than it.
  virtual MemorySharing& sharing() = 0;
  /// For a library that adds work of its own to this device's: the driver's stream. Calls of this
  /// thread are about this device from here on. Errors: unsupported, of the emulation.
  virtual Result<void*> driver_stream() = 0;

  /// Notes the time, on the device, at which it gets here. Seconds between two notes, after
  /// waiting.
  virtual Result<int> record_time() = 0;
  virtual Result<double> seconds_between(int first, int second) = 0;
  /// The notes so far are forgotten; the next is 0.
  virtual void forget_times() = 0;
};

/// An NVIDIA GPU's driver API (libcuda.so.1). The driver compiles one of the PTX texts, that which
/// ptx_for() takes for the GPU. Errors: not_found when there is no driver or no GPU, unsupported
/// when it is too old; the message says what was looked for and what to install.
Result<std::unique_ptr<Device>> open_cuda_device(std::span<const std::string_view> ptx_texts,
                                                 int index = 0);

/// A code object for one architecture.
struct CodeObject {
  std::string_view architecture;  // "gfx1201"
  std::span<const std::byte> bytes;
};

/// The HIP runtime (libamdhip64.so.7, .6). Never run on the hardware.
Result<std::unique_ptr<Device>> open_hip_device(std::span<const CodeObject> code, int index = 0);

}  // namespace tetrad::gpu
