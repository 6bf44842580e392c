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
  /// With other `ranks`, who must all come: this rank's share of `weights`, of whose other parts
  /// nothing is read. Where one cannot load, all fail with its error. done_reading: see
  /// WeightShare.
  static Result<std::unique_ptr<GpuDeviceModel>> load(
      const ModelConfig& config, const MiniMaxM2Weights& weights, std::vector<KvScales> kv_scales,
      std::unique_ptr<gpu::Device> device, gpu::GpuKernels kernels,
      const LoadProgress& progress = {}, const GpuRanks* ranks = nullptr,
      const DoneReading& done_reading = {});

  /// The whole model's.
  const ModelConfig& config() const override { return config_; }
  const std::string& device() const override { return device_; }
  const std::string& kernels() const override { return kernels_; }
  DType kv_dtype() const override { return DType::f8_e4m3; }
  int64_t kv_block_bytes() const override { return GpuModel::kv_block_bytes(model_->config()); }
  Result<StartedModel> start(const StepLimits& limits, const KvMemory& memory) override;

  // The two parts of start(), for ranks, which must have as many blocks.

  /// Makes room for steps; blocks of the cache that there is memory for besides.
  Result<int64_t> num_kv_blocks(const StepLimits& limits, const KvMemory& memory);
  /// With a cache of so many.
  Result<StartedModel> start_with(int64_t num_kv_blocks);

  const GpuRankGroup& ranks() const { return model_->ranks(); }
  /// Of the last step: whether this rank can bring the row by itself.
  bool has_row(int64_t row) const { return model_->has_row(row); }

 private:
  class Steps;
  /// What lies in the device's memory before there is a KV cache, in bytes.
  struct Memory {
    int64_t total = 0;
    int64_t free = 0;
    int64_t buffers = 0;  // of a step
  };

  GpuDeviceModel(const ModelConfig& config, std::unique_ptr<GpuModel> model,
                 const gpu::DeviceInfo& info, int64_t weight_bytes, int64_t ranks_here);

  Result<Memory> make_buffers(const StepLimits& limits);
  Result<int64_t> kv_cache_bytes(const StepLimits& limits, const KvMemory& wanted,
                                 const Memory& memory) const;
  /// "NVIDIA H200 has 140.4 GiB, of which the weights take …".
  std::string describe(const Memory& memory) const;

  ModelConfig config_;
  std::unique_ptr<GpuModel> model_;
  std::string device_;
  std::string kernels_;
  bool is_emulated_;  // its memory is this machine's
  int64_t weight_bytes_;
  int64_t ranks_here_;
  bool is_started_ = false;
};

}  // namespace tetrad
