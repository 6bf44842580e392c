#pragma once

// For tests only: another device, of which a subclass changes what it wants.

#include <memory>
#include <utility>

#include "gpu/device.h"

namespace tetrad::gpu {

class ForwardingDevice : public Device {
 public:
  explicit ForwardingDevice(std::unique_ptr<Device> device) : device_(std::move(device)) {}

  Result<DeviceInfo> info() override { return device_->info(); }
  Result<DeviceAddress> allocate(int64_t bytes) override { return device_->allocate(bytes); }
  void free(DeviceAddress address) override { device_->free(address); }
  Result<std::byte*> allocate_pinned(int64_t bytes) override {
    return device_->allocate_pinned(bytes);
  }
  void free_pinned(std::byte* memory) override { device_->free_pinned(memory); }
  Result<void> copy_to_device(DeviceAddress to, const void* from, int64_t bytes) override {
    return device_->copy_to_device(to, from, bytes);
  }
  Result<void> copy_to_host(void* to, DeviceAddress from, int64_t bytes) override {
    return device_->copy_to_host(to, from, bytes);
  }
  Result<void> fill(DeviceAddress address, uint8_t value, int64_t bytes) override {
    return device_->fill(address, value, bytes);
  }
  Result<Kernel> kernel(std::string_view name) override { return device_->kernel(name); }
  Result<void> launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                      size_t argument_bytes) override {
    return device_->launch(kernel, shape, arguments, argument_bytes);
  }
  Result<void> begin_graph() override { return device_->begin_graph(); }
  Result<std::unique_ptr<Graph>> end_graph() override { return device_->end_graph(); }
  Result<void> launch(const Graph& graph) override { return device_->launch(graph); }
  Result<void> synchronize() override { return device_->synchronize(); }
  MemorySharing& sharing() override { return device_->sharing(); }
  Result<void*> driver_stream() override { return device_->driver_stream(); }
  Result<int> record_time() override { return device_->record_time(); }
  Result<double> seconds_between(int first, int second) override {
    return device_->seconds_between(first, second);
  }
  void forget_times() override { device_->forget_times(); }

 private:
  std::unique_ptr<Device> device_;
};

}  // namespace tetrad::gpu
