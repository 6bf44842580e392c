#pragma once

// For tests only: a card whose memory runs out.

#include <map>
#include <memory>

#include "bundled_gpu_model.h"
#include "gpu/forwarding_device_for_tests.h"

namespace tetrad {

/// The emulation with a memory of its own, of some size.
class SmallCard final : public gpu::ForwardingDevice {
 public:
  SmallCard(int64_t total_bytes, int64_t used_by_others)
      : ForwardingDevice(emulated(false)),
        total_bytes_(total_bytes),
        used_by_others_(used_by_others) {}

  Result<gpu::DeviceInfo> info() override {
    TETRAD_ASSIGN(gpu::DeviceInfo info, ForwardingDevice::info());
    info.name = "Small Card";
    info.architecture = "sm_90";
    info.total_bytes = total_bytes_;
    info.free_bytes = free_bytes();
    return info;
  }
  Result<gpu::DeviceAddress> allocate(int64_t bytes) override {
    if (bytes > free_bytes()) return fail(ErrorCode::resource_exhausted, "{} bytes", bytes);
    TETRAD_ASSIGN(const gpu::DeviceAddress address, ForwardingDevice::allocate(bytes));
    allocated_[address] = bytes;
    return address;
  }
  void free(gpu::DeviceAddress address) override {
    allocated_.erase(address);
    ForwardingDevice::free(address);
  }

 private:
  int64_t free_bytes() const {
    int64_t free = total_bytes_ - used_by_others_;
    for (const auto& [address, bytes] : allocated_)
      free -= bytes;
    return free;
  }

  int64_t total_bytes_;
  int64_t used_by_others_;
  std::map<gpu::DeviceAddress, int64_t> allocated_;
};

}  // namespace tetrad
