#pragma once

// For tests only: another device, and what was asked of it.

#include <memory>
#include <utility>
#include <vector>

#include "gpu/device.h"

namespace tetrad::gpu {

class WatchedDevice final : public Device {
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
      : device_(std::move(device)), copies_(copies) {}

  /// The next launch, of a kernel or of a graph, is an error.
  void fail_next_launch() { launch_fails_ = true; }
  /// The next wait is one that ends with an error.
  void fail_next_wait() { wait_fails_ = true; }

  Result<DeviceInfo> info() override { return device_->info(); }
  Result<DeviceAddress> allocate(int64_t bytes) override { return device_->allocate(bytes); }
  void free(DeviceAddress address) override { device_->free(address); }
  Result<std::byte*> allocate_pinned(int64_t bytes) override {
    return device_->allocate_pinned(bytes);
  }
  void free_pinned(std::byte* memory) override { device_->free_pinned(memory); }
  Result<void> copy_to_device(DeviceAddress to, const void* from, int64_t bytes) override {
    if (bytes > 0) copies_.to_device.push_back(bytes);
    return device_->copy_to_device(to, from, bytes);
  }
  Result<void> copy_to_host(void* to, DeviceAddress from, int64_t bytes) override {
    if (bytes > 0) copies_.to_host.push_back(bytes);
    return device_->copy_to_host(to, from, bytes);
  }
  Result<void> fill(DeviceAddress address, uint8_t value, int64_t bytes) override {
    return device_->fill(address, value, bytes);
  }
  Result<Kernel> kernel(std::string_view name) override { return device_->kernel(name); }
  Result<void> launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                      size_t argument_bytes) override {
    TETRAD_TRY(check_launch());
    return device_->launch(kernel, shape, arguments, argument_bytes);
  }
  Result<void> begin_graph() override { return device_->begin_graph(); }
  Result<std::unique_ptr<Graph>> end_graph() override { return device_->end_graph(); }
  Result<void> launch(const Graph& graph) override {
    TETRAD_TRY(check_launch());
    return device_->launch(graph);
  }
  Result<void> synchronize() override {
    ++copies_.waits;
    TETRAD_TRY(device_->synchronize());
    if (!std::exchange(wait_fails_, false)) return {};
    return fail(ErrorCode::internal, "the wait fails, as the test wants it");
  }
  Result<int> record_time() override { return device_->record_time(); }
  Result<double> seconds_between(int first, int second) override {
    return device_->seconds_between(first, second);
  }
  void forget_times() override { device_->forget_times(); }

 private:
  Result<void> check_launch() {
    if (!std::exchange(launch_fails_, false)) return {};
    return fail(ErrorCode::internal, "the launch fails, as the test wants it");
  }

  std::unique_ptr<Device> device_;
  Copies& copies_;
  bool launch_fails_ = false;
  bool wait_fails_ = false;
};

}  // namespace tetrad::gpu
