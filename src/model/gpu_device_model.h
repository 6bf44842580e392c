#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/kv_scales.h"
#include "gpu/device.h"
#include "model/device_model.h"
#include "model/gpu_model.h"
#include "model/gpu_weights.h"

namespace tetrad {

/// MiniMax-M2 on a GPU, with an FP8 KV cache. Steps are started one at a time: their buffers and
/// the cache lie beside the weights.
class GpuDeviceModel final : public DeviceModel {
 public:
  /// Copies the weights to the device; afterwards nothing of `weights` is needed. `kv_scales`: one
  /// for each layer. Errors: unsupported, for sizes and formats that the kernels do not take;
  /// resource_exhausted, with what the weights take and the device has.
  static Result<std::unique_ptr<GpuDeviceModel>> load(const ModelConfig& config,
                                                      const MiniMaxM2Weights& weights,
                                                      std::vector<KvScales> kv_scales,
                                                      std::unique_ptr<gpu::Device> device,
                                                      gpu::GpuKernels kernels,
                                                      const LoadProgress& progress = {});

  const ModelConfig& config() const override { return model_->config(); }
  const std::string& device() const override { return device_; }
  const std::string& kernels() const override { return kernels_; }
  DType kv_dtype() const override { return DType::f8_e4m3; }
  int64_t kv_block_bytes() const override { return GpuModel::kv_block_bytes(config()); }
  Result<StartedModel> start(const StepLimits& limits, const KvMemory& memory) override;

 private:
  class Steps;
  /// What lies in the device's memory before there is a KV cache, in bytes.
  struct Memory {
    int64_t total = 0;
    int64_t free = 0;
    int64_t buffers = 0;  // of a step
  };

  GpuDeviceModel(std::unique_ptr<GpuModel> model, const gpu::DeviceInfo& info,
                 int64_t weight_bytes);

  Result<Memory> make_buffers(const StepLimits& limits);
  Result<int64_t> kv_cache_bytes(const StepLimits& limits, const KvMemory& wanted,
                                 const Memory& memory) const;
  /// "NVIDIA H200 has 140.4 GiB, of which the weights take …".
  std::string describe(const Memory& memory) const;

  std::unique_ptr<GpuModel> model_;
  std::string device_;
  std::string kernels_;
  bool is_emulated_;  // its memory is this machine's
  int64_t weight_bytes_;
  bool is_started_ = false;
};

}  // namespace tetrad
