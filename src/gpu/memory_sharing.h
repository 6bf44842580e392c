#pragma once

// Memory of a GPU that other GPUs, and other processes of the same machine, read and write; and
// host memory that kernels do.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"

namespace tetrad::gpu {

/// An address in the device's memory; arithmetic in bytes.
using DeviceAddress = uint64_t;

/// Of memory, by which another process opens it. Any bytes; as long as those of both drivers.
struct MemoryHandle {
  std::array<char, 64> bytes;
};

class MemorySharing {
 public:
  virtual ~MemorySharing() = default;

  /// Memory that may be exported, aligned to 256 bytes, contents undefined; Device::free() frees
  /// it. On AMD it is not cached, so that what peers write is seen by kernels that are running.
  virtual Result<DeviceAddress> allocate_shared(int64_t bytes) = 0;
  /// Errors: unsupported, where the driver does not let go of it, with its reason.
  virtual Result<MemoryHandle> export_memory(DeviceAddress shared) = 0;
  /// An address here of what another process of this machine exported, on this GPU or another. Not
  /// of this process: it has the address. Errors: unsupported, with what may be wrong.
  virtual Result<DeviceAddress> open_memory(const MemoryHandle& handle) = 0;
  /// Waits. 0 is ignored.
  virtual void close_memory(DeviceAddress opened) = 0;

  /// From here on this GPU's kernels may use addresses of GPU number `index` of this process.
  /// Errors: unsupported, naming both.
  virtual Result<void> enable_peer_access(int index) = 0;

  /// Locks host memory, which may be shared with other processes, into place; its address for this
  /// GPU's kernels. `memory`: whole pages. Until it is unmapped.
  virtual Result<DeviceAddress> map_host_memory(std::span<std::byte> memory) = 0;
  /// Waits. nullptr is ignored.
  virtual void unmap_host_memory(std::byte* memory) = 0;
};

}  // namespace tetrad::gpu
