#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "gpu/memory_sharing.h"

namespace tetrad::gpu {

/// MemorySharing of the emulated GPU: files in memory, which other processes of this machine map.
class EmulatedSharing final : public MemorySharing {
 public:
  EmulatedSharing();
  ~EmulatedSharing() override;

  Result<DeviceAddress> allocate_shared(int64_t bytes) override;
  Result<MemoryHandle> export_memory(DeviceAddress shared) override;
  Result<DeviceAddress> open_memory(const MemoryHandle& handle) override;
  void close_memory(DeviceAddress opened) override { free(opened); }
  Result<void> enable_peer_access(int index) override;
  Result<DeviceAddress> map_host_memory(std::span<std::byte> memory) override;
  void unmap_host_memory(std::byte*) override {}

  /// Whether it was memory of this.
  bool free(DeviceAddress address);

 private:
  struct Mapping;
  std::map<DeviceAddress, std::unique_ptr<Mapping>> mappings_;
};

}  // namespace tetrad::gpu
