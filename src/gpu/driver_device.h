#pragma once

#include <memory>
#include <vector>

#include "gpu/driver.h"
#include "gpu/driver_sharing.h"

namespace tetrad::gpu {

/// Device over either driver: one stream, on which all is done, and one module of kernels.
class DriverDevice final : public Device {
 public:
  /// Takes the module, which is unloaded in the end. `info`: all but the bytes of memory.
  static Result<std::unique_ptr<Device>> create(std::shared_ptr<const Driver> driver,
                                                DriverHandle module, DeviceInfo info);
  ~DriverDevice() override;

  Result<DeviceInfo> info() override;
  Result<DeviceAddress> allocate(int64_t bytes) override;
  void free(DeviceAddress address) override;
  Result<std::byte*> allocate_pinned(int64_t bytes) override;
  void free_pinned(std::byte* memory) override;
  Result<void> copy_to_device(DeviceAddress to, const void* from, int64_t bytes) override;
  Result<void> copy_to_host(void* to, DeviceAddress from, int64_t bytes) override;
  Result<void> fill(DeviceAddress address, uint8_t value, int64_t bytes) override;
  Result<Kernel> kernel(std::string_view name) override;
  Result<void> launch(Kernel kernel, const LaunchShape& shape, const void* arguments,
                      size_t argument_bytes) override;
  Result<void> begin_graph() override;
  Result<std::unique_ptr<Graph>> end_graph() override;
  Result<void> launch(const Graph& graph) override;
  Result<void> synchronize() override;
  MemorySharing& sharing() override { return sharing_; }
  Result<void*> driver_stream() override;
  Result<int> record_time() override;
  Result<double> seconds_between(int first, int second) override;
  void forget_times() override { num_times_ = 0; }

 private:
  DriverDevice(std::shared_ptr<const Driver> driver, DriverHandle module, DeviceInfo info);

  const DriverFunctions& functions() const { return driver_->functions(); }
  Result<void> check_not_recording(std::string_view what) const;
  /// Waits, for functions that cannot report: the next one that waits does.
  void settle();
  void note(Result<void> done);

  std::shared_ptr<const Driver> driver_;
  DriverHandle module_;
  DriverHandle stream_ = nullptr;
  DeviceInfo info_;
  DriverSharing sharing_;
  bool recording_ = false;
  std::vector<DriverHandle> events_;  // made as they are needed, kept for the next notes
  int num_times_ = 0;
  Result<void> noted_;  // the first error that could not be reported where it arose
};

}  // namespace tetrad::gpu
