#pragma once

// For tests only: another device that seems to have more multiprocessors or fewer.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpu/forwarding_device_for_tests.h"

namespace tetrad::gpu {

/// Remembers what was launched, too, or recorded.
class SizedDevice final : public ForwardingDevice {
 public:
  SizedDevice(std::unique_ptr<Device> device, int64_t num_multiprocessors)
      : ForwardingDevice(std::move(device)), num_multiprocessors_(num_multiprocessors) {}

  Result<DeviceInfo> info() override {
    TETRAD_ASSIGN(DeviceInfo info, ForwardingDevice::info());
    info.num_multiprocessors = num_multiprocessors_;
    return info;
  }
  Result<Kernel> kernel(std::string_view name) override {
    TETRAD_ASSIGN(const Kernel kernel, ForwardingDevice::kernel(name));
    names_[kernel.handle] = name;
    return kernel;
  }
  using ForwardingDevice::launch;
  Result<void> launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                      size_t argument_bytes) override {
    launched.push_back(names_[kernel.handle]);
    return ForwardingDevice::launch(kernel, shape, arguments, argument_bytes);
  }

  std::vector<std::string> launched;

 private:
  int64_t num_multiprocessors_;
  std::map<void*, std::string> names_;
};

}  // namespace tetrad::gpu
