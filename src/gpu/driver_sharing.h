#pragma once

#include <functional>

#include "gpu/driver.h"

namespace tetrad::gpu {

/// MemorySharing over either driver.
class DriverSharing final : public MemorySharing {
 public:
  /// All of a device that outlives this. `wait`: until the device is done with what it was asked.
  DriverSharing(const Driver& driver, const DeviceInfo& info, std::function<Result<void>()> wait)
      : driver_(driver), info_(info), wait_(std::move(wait)) {}

  Result<DeviceAddress> allocate_shared(int64_t bytes) override;
  Result<MemoryHandle> export_memory(DeviceAddress shared) override;
  Result<DeviceAddress> open_memory(const MemoryHandle& handle) override;
  void close_memory(DeviceAddress opened) override;
  Result<void> enable_peer_access(int index) override;
  Result<DeviceAddress> map_host_memory(std::span<std::byte> memory) override;
  void unmap_host_memory(std::byte* memory) override;

 private:
  const DriverFunctions& functions() const { return driver_.functions(); }
  /// "NVIDIA H200 (0000:1B:00.0)"
  std::string name() const;

  const Driver& driver_;
  const DeviceInfo& info_;
  std::function<Result<void>()> wait_;
};

}  // namespace tetrad::gpu
