#pragma once

// For tests only: another device, and what was asked of it.

#include <memory>
#include <utility>
#include <vector>

#include "gpu/forwarding_device_for_tests.h"

namespace tetrad::gpu {

class WatchedDevice final : public ForwardingDevice {
 public:
  /// Bytes of each copy since the last clear().
  struct Copies {
    std::vector<int64_t> to_device;
    std::vector<int64_t> to_host;
    int waits = 0;
    void clear() { *this = {}; }
  };

  /// `copies` must outlive this.
  WatchedDevice(std::unique_ptr<Device> device, Copies& copies)
      : ForwardingDevice(std::move(device)), copies_(copies) {}

  /// The next launch, of a kernel or of a graph, is an error.
  void fail_next_launch() { launch_fails_ = true; }
  /// The next wait is one that ends with an error.
  void fail_next_wait() { wait_fails_ = true; }

  Result<void> copy_to_device(DeviceAddress to, const void* from, int64_t bytes) override {
    if (bytes > 0) copies_.to_device.push_back(bytes);
    return ForwardingDevice::copy_to_device(to, from, bytes);
  }
  Result<void> copy_to_host(void* to, DeviceAddress from, int64_t bytes) override {
    if (bytes > 0) copies_.to_host.push_back(bytes);
    return ForwardingDevice::copy_to_host(to, from, bytes);
  }
  Result<void> launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                      size_t argument_bytes) override {
    TETRAD_TRY(check_launch());
    return ForwardingDevice::launch(kernel, shape, arguments, argument_bytes);
  }
  Result<void> launch(const Graph& graph) override {
    TETRAD_TRY(check_launch());
    return ForwardingDevice::launch(graph);
  }
  Result<void> synchronize() override {
    ++copies_.waits;
    TETRAD_TRY(ForwardingDevice::synchronize());
    if (!std::exchange(wait_fails_, false)) return {};
    return fail(ErrorCode::internal, "the wait fails, as the test wants it");
  }

 private:
  Result<void> check_launch() {
    if (!std::exchange(launch_fails_, false)) return {};
    return fail(ErrorCode::internal, "the launch fails, as the test wants it");
  }

  Copies& copies_;
  bool launch_fails_ = false;
  bool wait_fails_ = false;
};

}  // namespace tetrad::gpu
